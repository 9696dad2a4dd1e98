"""Deploys rocket-launches to a cluster, and works with what is there: `make up`, `make deploy` and their companions.

It needs Python, docker, helm and kubectl, and kind for a cluster of its own. Every command names its kube context, the
one in KUBE_CONTEXT or that of our kind cluster, so that no other is ever touched. Run again, it upgrades: what is there
stays, above all Secrets and data. Interrupted, the next finishes.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deploy.airflow import check_store, logs, print_states, rebuild, running_tasks, trigger, trigger_and_wait
from deploy.channels import check_channels
from deploy.charts import RELEASES, chart, check_charts, install, public_url, values, wanted
from deploy.images import build, images, names, push, references
from deploy.kafka import BOOTSTRAP_SERVERS, changes, set_up_kafka, write_kafka_secrets
from deploy.kind import load_images, make_cluster
from deploy.manifests import (
    apply_backup,
    apply_manifests,
    apply_outside_policies,
    apply_pod_cleanup,
    apply_website,
    deploy_monitoring,
    deploy_stand_ins,
)
from deploy.objects import set_up_bucket, write_object_secrets
from deploy.postgres import backup, links, psql, restore
from deploy.programs import (
    AIRFLOW,
    CACHE,
    CLUSTER,
    CONTEXT,
    KIND,
    TASKS,
    Failed,
    check_programs,
    kubectl,
    lock,
    phase,
    run,
    say,
    show_command,
)
from deploy.search import URL as SEARCH_URL
from deploy.search import search, set_up_search, write_search_secrets
from deploy.settings import check_settings, has, secret, settings, use_registry_login, write_secrets
from deploy.status import status


@lock()
def up(_arguments: argparse.Namespace) -> None:
    """From nothing, or from anything, to a green run on a kind cluster of our own."""
    if CONTEXT != KIND:
        raise Failed(f"make up is for its own kind cluster: make deploy KUBE_CONTEXT={CONTEXT} IMAGE_REGISTRY=…")
    started = time.monotonic()
    check_programs("docker", "kind", "helm", "kubectl")
    check_settings()
    check_charts()
    if settings().get("STAND_INS"):
        print("Launch Library and Discord: stand-ins, as STAND_INS is set.")
    with phase("cluster"):
        make_cluster()
    with phase("images"):
        ours = load_images()
    is_new, states = install_everything(ours)
    print(f"\nReady after {time.monotonic() - started:.0f} s: http://localhost:8080")
    if address := public_url(settings()):
        print(f"For everybody: {address}")
    say_how_to_go_on(is_new, states)


@lock()
def deploy(_arguments: argparse.Namespace) -> None:
    """The same on a cluster that is there, by its context, with images from a registry that its nodes can reach."""
    registry = os.environ.get("IMAGE_REGISTRY")
    if CONTEXT == KIND or not registry:
        raise Failed(
            "Name the cluster and a registry: make deploy KUBE_CONTEXT=… IMAGE_REGISTRY=registry.example.org/me"
        )
    started = time.monotonic()
    check_programs("docker", "helm", "kubectl")
    check_settings()
    check_charts()
    with phase("cluster"):
        kubectl("version", "--request-timeout=30s")
    with phase("images"):
        for name in names():
            build(name)
            push(name)
    is_new, states = install_everything(references(), ["helm/production.yaml"])
    with phase("backups"):
        apply_backup(references()["IMAGE_FETCH"], settings().get("OBJECT_STORE", ""))
    print(
        f"\nReady after {time.monotonic() - started:.0f} s: http://localhost:8080 while this runs:\n"
        f"kubectl --context {CONTEXT} port-forward -n {AIRFLOW} service/airflow-api-server 8080"
    )
    say_how_to_go_on(is_new, states, f" KUBE_CONTEXT={CONTEXT}")


@lock()
def down(_arguments: argparse.Namespace) -> None:
    """Delete our kind cluster and all that is in it."""
    if CONTEXT != KIND:
        raise Failed("make down deletes its own kind cluster only: docs/operating.md says how to uninstall elsewhere.")
    run("kind", "delete", "cluster", "--name", CLUSTER, show=True)
    if not run("docker", "ps", "-aq", "--filter", "network=kind"):
        run("docker", "network", "rm", "kind", check=False, show=True)


def install_everything(images: dict[str, str], shared: Sequence[str] = ()) -> tuple[bool, dict[str, Any]]:
    """Bring a cluster that answers to its first run, with the shared values files for the releases that take them.

    Return whether the admin's password is new, and how the run ended.
    """
    chosen = settings()
    if chosen.get("MONITORING"):
        shared = [*shared, "helm/monitoring.yaml"]
    with phase("secrets"):
        apply_manifests(chosen)
        apply_outside_policies(chosen)
        apply_pod_cleanup(images["IMAGE_AIRFLOW"])
        if chosen.get("STAND_INS"):
            deploy_stand_ins()
        show_command("python3 -m deploy secrets")
        is_new = write_all_secrets(chosen)
    for name, release in wanted(chosen).items():
        with phase(release.phase, release.namespace):
            if name == "airflow" and (busy := running_tasks()):
                say(f"{busy} is running: a scheduler that is replaced waits for its end, up to 11 minutes.")
            install(name, images, shared)
            if name == "s3":
                show_command("python3 -m deploy bucket")
                set_up_bucket()
                apply_website(chosen, node_port=CONTEXT == KIND)
            if name == "kafka":
                show_command("python3 -m deploy kafka")
                set_up_kafka(chosen)
            if name == "search":
                show_command("python3 -m deploy search-users")
                set_up_search(chosen)
            if name == "operator":
                deploy_monitoring(wanted=bool(chosen.get("MONITORING")))
    with phase("first run", AIRFLOW, TASKS):
        states = trigger_and_wait()
    print_states(states)
    return is_new, states


def write_all_secrets(chosen: dict[str, str]) -> bool:
    """Write every Secret; return whether the admin's password is new."""
    is_new = write_secrets(chosen)
    write_object_secrets(chosen)
    write_kafka_secrets(chosen)
    write_search_secrets(chosen)
    use_registry_login()
    return is_new


def secrets(_arguments: argparse.Namespace) -> None:
    """Write every Secret and nothing else, for helm by hand."""
    check_programs("helm", "kubectl")  # helm makes certificates, where some are needed
    check_settings()
    with lock():
        write_all_secrets(settings())


def bucket(_arguments: argparse.Namespace) -> None:
    """Make the bucket and the users of the S3 server in the cluster, for helm by hand."""
    check_programs("kubectl")
    with lock():
        set_up_bucket()


def kafka(_arguments: argparse.Namespace) -> None:
    """Make the users of the Kafka in the cluster, for helm by hand."""
    check_programs("kubectl")
    with lock():
        set_up_kafka(settings())


def search_users(_arguments: argparse.Namespace) -> None:
    """Make the users of the search server in the cluster, for helm by hand."""
    check_programs("helm", "kubectl")
    with lock():
        set_up_search(settings())


def say_how_to_go_on(is_new: bool, states: dict[str, Any], which: str = "") -> None:  # noqa: FBT001  # one caller each
    """Print the login and the next commands; which cluster they are for. Raises Failed if the run has failed."""
    admin = secret(AIRFLOW, "airflow-admin")
    path = f"kubectl --context {CONTEXT} get secret airflow-admin -n {AIRFLOW} -o jsonpath={{.data.password}}"
    password = admin["password"] if is_new else f"what this prints: {path} | base64 -d"
    print(
        f"Log in as {admin['username']} with {password}\n"
        f"Next: make trigger{which}, make logs{which} TASK=fetch_and_store_data, make rows{which}"
    )
    servers = {"stream": ("Kafka", BOOTSTRAP_SERVERS, "kafka"), "search": ("Search", SEARCH_URL, "search")}
    for part, (name, where, kind) in servers.items():
        if has(settings(), part):
            key = f"{kind.upper()}_PASSWORD"
            login = f"kubectl --context {CONTEXT} get secret {kind}-reader -n {TASKS} -o jsonpath={{.data.{key}}}"
            print(f"{name}: {where} in the cluster, as reader with what this prints: {login} | base64 -d")
    if states[""] != "success":
        raise Failed(f"The first run failed: make logs{which} TASK=… says why, make trigger{which} tries again.")


def add_arguments(command: Callable[..., Any], subparser: argparse.ArgumentParser) -> None:
    """Add what a command takes."""
    if command is logs:
        subparser.add_argument("task", nargs="?")
    if command is psql:
        subparser.add_argument("statement", nargs="?")
    if command is rebuild:
        subparser.add_argument("--since", default=os.environ.get("SINCE") or "")
        subparser.add_argument("--dry-run", action="store_true", default=bool(os.environ.get("DRY_RUN")))
    if command is changes:
        subparser.add_argument("--follow", action="store_true", default=bool(os.environ.get("FOLLOW")))
    if command is restore:
        subparser.add_argument("file", type=Path)
    if command is images:
        subparser.add_argument("action", nargs="?", choices=("build", "push"))
        subparser.add_argument("only", nargs="?", choices=("tasks",))
    if command is chart:
        subparser.add_argument("name", choices=[release.chart for release in RELEASES.values()])
    if command is values:
        subparser.add_argument("release", choices=RELEASES)


def main() -> int:
    """Return 0, what a command returns, or 1 with a sentence on standard error."""
    # What `make offline` compiled comes first.
    os.environ["PATH"] = f"{CACHE / 'bin'}{os.pathsep}{os.environ['PATH']}"
    parser = argparse.ArgumentParser(prog="python3 -m deploy", description=__doc__)
    commands = parser.add_subparsers(required=True)
    daily = (trigger, logs, psql, links, changes, search, check_channels, rebuild, check_store, backup, restore, status)
    for command in (up, deploy, *daily, down, secrets, bucket, kafka, search_users, images, chart, values):
        subparser = commands.add_parser(command.__name__.replace("_", "-"), help=command.__doc__)
        subparser.set_defaults(run=command)
        add_arguments(command, subparser)
    arguments = parser.parse_args()
    try:
        return arguments.run(arguments) or 0
    except Failed as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped: the same command goes on from here.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
