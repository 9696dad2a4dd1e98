"""The launches' database: psql, backup and restore, all run in PostgreSQL's pod."""

import argparse
import json
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from deploy.programs import AIRFLOW, CONTEXT, Failed, kubectl
from deploy.settings import secret

# What is known of what the nearest launch links to.
LINKS = """
    SELECT kind,
           coalesce(left(error, 60), type || coalesce(', ' || width || ' x ' || height, ''), 'not yet') AS what,
           coalesce(title, label) AS title,
           coalesce(final_url, url) AS address
    FROM launch_links JOIN rocket_launches USING (launch_id)
    WHERE launch_id = (
        SELECT launch_id FROM rocket_launches AS r
        WHERE EXISTS (SELECT FROM launch_links AS l WHERE l.launch_id = r.launch_id AND l.object_key IS NOT NULL)
        ORDER BY abs(extract(epoch FROM net - now()))
        LIMIT 1
    )
    ORDER BY launch_links.id;
"""


def in_postgres(*command: str, terminal: bool = False) -> list[str]:
    """Return the command that runs another one in the primary's pod, as the owner of the launches."""
    owner = secret(AIRFLOW, "database-init-schema")
    primary = "cnpg.io/cluster=postgres,cnpg.io/instanceRole=primary"
    pod = kubectl("get", "pods", "-n", AIRFLOW, "-l", primary, "-o", "name").strip()
    if not owner or not pod:
        raise Failed("PostgreSQL is not there: make up deploys it, make status shows what runs.")
    # In its pod, PostgreSQL trusts the Unix user postgres, so no password is needed; the role is then set to the owner.
    settings = (f"PGOPTIONS=-c role={owner['username']}", f"PGDATABASE={owner['dbname']}")
    execute = ["kubectl", "--context", CONTEXT, "exec", "-n", AIRFLOW, "-i", *(["-t"] if terminal else []), pod]
    return [*execute, "-c", "postgres", "--", "env", *settings, *command]


def psql(arguments: argparse.Namespace) -> None:
    """Open psql on the launches as their owner, or run one statement."""
    statement = ("-c", arguments.statement) if arguments.statement else ()
    terminal = sys.stdin.isatty() and not statement
    if subprocess.run(in_postgres("psql", "-X", *statement, terminal=terminal), check=False).returncode:
        raise Failed("psql failed: make status shows if PostgreSQL runs.")


def links(_arguments: argparse.Namespace) -> None:
    """Show what is known of the pictures and pages that the nearest launch links to."""
    psql(argparse.Namespace(statement=LINKS))


def backup(_arguments: argparse.Namespace) -> None:
    """Write the launches' database to a file here, as of one moment."""
    path = Path(f"launches-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.dump")
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        done = subprocess.run(in_postgres("pg_dump", "--format", "custom"), stdout=file, check=False).returncode == 0
    if not done:
        part.unlink()
        raise Failed("pg_dump failed: make status shows if PostgreSQL runs.")
    part.rename(path)
    print(f"{path}: {path.stat().st_size} bytes; make restore FILE={path} brings it back")


def restore(arguments: argparse.Namespace) -> None:
    """Replace the launches with a backup; if something fails, nothing changes."""
    command = ["pg_restore", "--clean", "--if-exists", "--no-owner", "--single-transaction", "--exit-on-error"]
    if arguments.file.is_file():
        command += ["--dbname", secret(AIRFLOW, "database-init-schema").get("dbname", "")]
        with arguments.file.open("rb") as file:
            restored = subprocess.run(in_postgres(*command), stdin=file, check=False).returncode == 0
    else:
        restored = restore_nightly(f"/backups/{arguments.file.name}", command)
    if not restored:
        raise Failed(f"{arguments.file} was not restored, and nothing was changed: the lines above say why.")
    print(f"{arguments.file} is restored: make rows shows it, make trigger brings it up to date.")


def restore_nightly(path: str, command: list[str]) -> bool:
    """Restore a nightly backup, with a job made from the one that wrote it. Return whether that worked."""
    job = ("create", "job", "restore", "--from=cronjob/backup", "-n", AIRFLOW, "--dry-run=client", "-o", "json")
    manifest = json.loads(kubectl(*job, check=False) or "null")
    if not manifest:
        raise Failed(f"{path} is not a file here, and this cluster makes no nightly backups: make backup writes one.")
    manifest["spec"]["backoffLimit"] = 0
    pod = manifest["spec"]["template"]["spec"]
    if "initContainers" in pod:
        # Into the store, the dump came first; out of it, it comes last.
        [dump], [get] = pod["initContainers"], pod["containers"]
        get["command"] = ["python", "-m", "objects", "get", path, f"backups/{Path(path).name}"]
        pod["initContainers"], pod["containers"] = [get], [dump]
    [container] = pod["containers"]
    script = (
        "timeout 60 sh -c 'until pg_isready --quiet; do sleep 1; done'; ls /backups; "
        f'exec "$@" --dbname "$PGDATABASE" {shlex.quote(path)}'
    )
    container["command"] = ["sh", "-c", script, "sh", *command]
    kubectl("delete", "job", "restore", "-n", AIRFLOW, "--ignore-not-found")
    kubectl("create", "-f", "-", stdin=json.dumps(manifest))
    ended = ("--for=jsonpath={.status.conditions[?(@.status=='True')].type}", "--timeout=10m")
    kubectl("wait", "job/restore", "-n", AIRFLOW, *ended)
    print(kubectl("logs", "job/restore", "-n", AIRFLOW, "--all-containers"), end="")
    state = kubectl("get", "job", "restore", "-n", AIRFLOW, "-o", "jsonpath={.status.succeeded}")
    kubectl("delete", "job", "restore", "-n", AIRFLOW)
    return state == "1"
