"""What the charts do not bring: the manifests in k8s/, and the stand-ins."""

import json

from deploy.programs import CLUSTER, OPERATOR, ROOT, TASKS, WEBSITE, kubectl
from deploy.settings import egress_except, kafka_ports, search_ports

SET_BY_DEPLOY = "rocket-launches/airflow:set-by-deploy"  # Airflow's image in k8s/pod-cleanup.yaml
FETCH_SET_BY_DEPLOY = "rocket-launches/fetch:set-by-deploy"  # and that of fetch in k8s/backup-to-store.yaml


def apply_manifests(chosen: dict[str, str]) -> None:
    """Apply the kustomization in k8s/; the policy `web` excludes the networks in EGRESS_EXCEPT, if that is set."""
    # Server-side: Kubernetes also creates each namespace's account `default`, and whichever came second would fail.
    kubectl("apply", "--server-side", "--force-conflicts", "-k", "k8s", show=True)
    if networks := egress_except(chosen):
        blocks = [
            {"ipBlock": {"cidr": cidr, "except": [str(network) for network in networks if network.version == version]}}
            for version, cidr in ((4, "0.0.0.0/0"), (6, "::/0"))
        ]
        web = json.loads(kubectl("get", "networkpolicy", "web", "-n", TASKS, "-o", "json"))
        patch = {"spec": {"egress": [rule | {"to": blocks} for rule in web["spec"]["egress"]]}}
        kubectl("patch", "networkpolicy", "web", "-n", TASKS, "--type=merge", "-p", json.dumps(patch), show=True)


def apply_outside_policies(chosen: dict[str, str]) -> None:
    """Let steps out to a Kafka or a search server of your own, by its ports, whatever addresses it has; or not."""
    for label, ports in {"kafka": kafka_ports(chosen), "search": search_ports(chosen)}.items():
        name = f"{label}-of-your-own"
        if not ports:
            kubectl("delete", "networkpolicy", name, "-n", TASKS, "--ignore-not-found", show=True)
            continue
        policy = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": TASKS, "labels": {"app.kubernetes.io/part-of": CLUSTER}},
            "spec": {
                "podSelector": {"matchLabels": {"egress": label}},
                "policyTypes": ["Egress"],
                "egress": [{"ports": [{"port": port} for port in ports]}],
            },
        }
        kubectl("apply", "-f", "-", stdin=json.dumps(policy), show=f"echo '{json.dumps(policy)}'")


def apply_pod_cleanup(image: str) -> None:
    """Apply the hourly cleanup of finished pods, which runs Airflow's image."""
    manifest = (ROOT / "k8s" / "pod-cleanup.yaml").read_text(encoding="utf-8").replace(SET_BY_DEPLOY, image)
    kubectl("apply", "-f", "-", stdin=manifest, show=f"sed 's|{SET_BY_DEPLOY}|{image}|' k8s/pod-cleanup.yaml")
    # An earlier version had these.
    kubectl("delete", "role,rolebinding", "airflow-pod-cleanup", "-n", TASKS, "--ignore-not-found", show=True)


def apply_backup(image: str, store: str) -> None:
    """Apply the nightly backup: into the object store, by the image of fetch, or onto a volume where there is none."""
    if store == "none":
        kubectl("apply", "-f", "k8s/backup.yaml", show=True)
        return
    path = "k8s/backup-to-store.yaml"
    manifest = (ROOT / path).read_text(encoding="utf-8").replace(FETCH_SET_BY_DEPLOY, image)
    kubectl("apply", "-f", "-", stdin=manifest, show=f"sed 's|{FETCH_SET_BY_DEPLOY}|{image}|' {path}")


def deploy_monitoring(*, wanted: bool) -> None:
    """Let Prometheus in, and tell its operator, if there is one, which pods to scrape; or take both back."""
    command = ("apply",) if wanted else ("delete", "--ignore-not-found")
    # A policy would cut off a PostgreSQL operator that is not ours.
    ours = kubectl("get", "networkpolicy", "operator", "-n", OPERATOR, "--ignore-not-found")
    which = () if ours else ("-l", "app.kubernetes.io/component!=operator")
    kubectl(*command, "-f", "k8s/monitoring.yaml", *which, show=True)
    if kubectl("get", "crd", "podmonitors.monitoring.coreos.com", "--ignore-not-found"):
        kubectl(*command, "-f", "k8s/pod-monitors.yaml", show=True)


def apply_website(chosen: dict[str, str], *, node_port: bool) -> None:
    """Serve the site from our own object store, on kind by the node port that k8s/kind.yaml leads to; or end that."""
    if chosen.get("OBJECT_STORE"):
        kubectl("delete", "--ignore-not-found", "-f", "k8s/website.yaml", show=True)
        return
    if "configmap/website configured" in kubectl("apply", "-f", "k8s/website.yaml", show=True):
        # Its server reads it at its start.
        kubectl("rollout", "restart", "deployment/website", "-n", WEBSITE, show=True)
    if node_port:
        patch = {"spec": {"type": "NodePort", "ports": [{"port": 8080, "nodePort": 30081}]}}
        kubectl("patch", "service", "website", "-n", WEBSITE, "-p", json.dumps(patch), show=True)
    kubectl("rollout", "status", "deployment/website", "-n", WEBSITE, "--timeout=5m", show=True)


def deploy_stand_ins() -> None:
    """Deploy the stand-ins for the Launch Library and Discord."""
    kubectl("apply", "--server-side", "-f", "k8s/stand-ins.yaml", show=True)
    create = ("create", "configmap", "code", "--from-file=standins", "--dry-run=client", "-o", "yaml")
    apply = ("apply", "--server-side", "-n", "stand-ins", "-f", "-")
    kubectl(*apply, stdin=kubectl(*create), show=f"kubectl {' '.join(create)}")
    for name in ("launch-library", "discord"):
        kubectl("rollout", "status", f"deployment/{name}", "-n", "stand-ins", "--timeout=2m", show=True)
