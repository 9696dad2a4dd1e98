"""What the charts do not bring: the manifests in k8s/, and the stand-ins."""

import json

from deploy.programs import OPERATOR, ROOT, TASKS, kubectl
from deploy.settings import egress_except

SET_BY_DEPLOY = "rocket-launches/airflow:set-by-deploy"  # where k8s/pod-cleanup.yaml wants the name of Airflow's image
STAND_INS = "standins"  # the folder whose files run in the stand-ins' pods


def apply_manifests(chosen: dict[str, str]) -> None:
    """Apply what the charts do not bring; in the policy `web`, except what EGRESS_EXCEPT names."""
    # Server-side: Kubernetes makes each namespace's account `default`, too, and who came second would fail.
    kubectl("apply", "--server-side", "--force-conflicts", "-k", "k8s", show=True)
    if networks := egress_except(chosen):
        blocks = [
            {"ipBlock": {"cidr": cidr, "except": [str(network) for network in networks if network.version == version]}}
            for version, cidr in ((4, "0.0.0.0/0"), (6, "::/0"))
        ]
        web = json.loads(kubectl("get", "networkpolicy", "web", "-n", TASKS, "-o", "json"))
        patch = {"spec": {"egress": [rule | {"to": blocks} for rule in web["spec"]["egress"]]}}
        kubectl("patch", "networkpolicy", "web", "-n", TASKS, "--type=merge", "-p", json.dumps(patch), show=True)


def apply_pod_cleanup(image: str) -> None:
    """Apply the hourly cleanup of finished pods, which runs Airflow's image."""
    manifest = (ROOT / "k8s" / "pod-cleanup.yaml").read_text(encoding="utf-8").replace(SET_BY_DEPLOY, image)
    kubectl("apply", "-f", "-", stdin=manifest, show=f"sed 's|{SET_BY_DEPLOY}|{image}|' k8s/pod-cleanup.yaml")
    # What did this before.
    kubectl("delete", "role,rolebinding", "airflow-pod-cleanup", "-n", TASKS, "--ignore-not-found", show=True)


def deploy_monitoring(*, wanted: bool) -> None:
    """Let a Prometheus in, and tell its operator whom to ask, if there is one; or take both back."""
    command = ("apply",) if wanted else ("delete", "--ignore-not-found")
    # Policies would cut off somebody else's operator of PostgreSQL; ours has some already.
    ours = kubectl("get", "networkpolicy", "operator", "-n", OPERATOR, "--ignore-not-found")
    which = () if ours else ("-l", "app.kubernetes.io/component!=operator")
    kubectl(*command, "-f", "k8s/monitoring.yaml", *which, show=True)
    if kubectl("get", "crd", "podmonitors.monitoring.coreos.com", "--ignore-not-found"):
        kubectl(*command, "-f", "k8s/pod-monitors.yaml", show=True)


def deploy_stand_ins() -> None:
    """Deploy stand-ins for the two services, which need nothing but Python."""
    kubectl("apply", "--server-side", "-f", "k8s/stand-ins.yaml", show=True)
    create = ("create", "configmap", "code", f"--from-file={STAND_INS}", "--dry-run=client", "-o", "yaml")
    apply = ("apply", "--server-side", "-n", "stand-ins", "-f", "-")
    kubectl(*apply, stdin=kubectl(*create), show=f"kubectl {' '.join(create)}")
    for name in ("launch-library", "discord"):
        kubectl("rollout", "status", f"deployment/{name}", "-n", "stand-ins", "--timeout=2m", show=True)
