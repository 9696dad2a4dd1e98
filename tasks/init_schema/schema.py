"""The schema's revision, moved under a lock; and who may do what."""

import logging
from pathlib import Path

import psycopg2
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import step
from step import BAD_CONFIGURATION, TRY_LATER, Failure

TABLES = (
    "rocket_launches, launch_changes, fetches, notifications, launch_links, crawled_hosts, published_launches, "
    "published_files, alembic_version"
)

# What the other roles need, and no more. A role that does not exist is passed over: on a database with one user, the
# owner runs everything.
GRANTS = {
    "launch_fetch": (
        # UPDATE of every column: LOCK TABLE asks for it.
        "GRANT SELECT, INSERT, UPDATE ON rocket_launches TO launch_fetch",
        "GRANT SELECT, INSERT ON launch_changes, fetches TO launch_fetch",
        # What a rebuild mends: rows that today's reading of the answers would not make, or would make otherwise.
        "GRANT DELETE ON rocket_launches, launch_changes TO launch_fetch",
        "GRANT UPDATE ON fetches TO launch_fetch",
        # Which launches a message shows: those it follows to their end.
        "GRANT SELECT (launch_id, message_id) ON notifications TO launch_fetch",
    ),
    "launch_notify": (
        "GRANT SELECT ON rocket_launches, launch_changes TO launch_notify",
        "GRANT SELECT, INSERT ON notifications TO launch_notify",
        "GRANT UPDATE (channel, attempt, net, facts) ON notifications TO launch_notify",
        "GRANT UPDATE (message_id, attempted_at, posted_at, edited_at) ON notifications TO launch_notify",
        # The press kits that are there.
        "GRANT SELECT (id, launch_id, url, kind, label, status, error, title) ON launch_links TO launch_notify",
        # The pages that are there.
        "GRANT SELECT (path, launch_id, unnamed_since) ON published_files TO launch_notify",
    ),
    "launch_crawl": (
        "GRANT SELECT (launch_id, net, withdrawn_at, details, object_key, position) ON rocket_launches TO launch_crawl",
        "GRANT SELECT, INSERT, UPDATE ON launch_links, crawled_hosts TO launch_crawl",
    ),
    "launch_publish": (
        "GRANT SELECT ON rocket_launches, launch_changes, launch_links TO launch_publish",
        "GRANT SELECT, INSERT, UPDATE ON published_launches TO launch_publish",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON published_files TO launch_publish",
    ),
    "launch_stream": ("GRANT SELECT ON rocket_launches, launch_changes TO launch_stream",),
    "launch_index": ("GRANT SELECT ON rocket_launches, launch_changes, launch_links TO launch_index",),
    # CloudNativePG's own: it runs the queries in helm/monitoring.yaml.
    "cnpg_metrics_exporter": (
        "GRANT SELECT ON rocket_launches, launch_changes, fetches, notifications TO cnpg_metrics_exporter",
    ),
}

OLDEST = 17  # PostgreSQL's major version: fetch_and_store_data needs MERGE in a WITH

log = logging.getLogger(__name__)


def migrate(target: str) -> None:
    """Bring the database to `target`, in one transaction: `head`, `base` (nothing), or a revision such as `0002`.

    Raises Failure: 75 if the database is away or busy, 78 if it is newer than this image or the target is unknown.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    newest_first = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    revisions = ["base", *reversed(newest_first)]
    after = revisions[-1] if target == "head" else target
    if after not in revisions:
        raise Failure(BAD_CONFIGURATION, f"There is no revision {target}: give head, {', '.join(revisions)}.")

    engine = sqlalchemy.create_engine("postgresql+psycopg2://", creator=step.connect)
    try:
        with engine.begin() as connection:
            version = connection.dialect.server_version_info[0]
            if version < OLDEST:
                raise Failure(
                    BAD_CONFIGURATION, f"PostgreSQL {version} is too old: this needs {OLDEST} or newer. Upgrade it."
                )
            # Two at once: the second waits, and then finds nothing left to do.
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('init_schema'))")
            before = MigrationContext.configure(connection).get_current_revision() or "base"
            if before not in revisions:
                raise Failure(
                    BAD_CONFIGURATION,
                    f"The database is at revision {before} and this image knows none after {revisions[-1]}: it was "
                    "left alone. Run the newer init_schema image that brought it there.",
                )
            config.attributes["connection"] = connection
            move = command.upgrade if revisions.index(after) >= revisions.index(before) else command.downgrade
            move(config, after)
            if after == revisions[-1]:
                grant(connection)
    except sqlalchemy.exc.DBAPIError as error:
        raise error.orig or error from None
    log.info("The schema is at revision %s%s", after, ", as before" if after == before else f"; it was at {before}")


def grant(connection: sqlalchemy.Connection) -> None:
    """Give each role exactly its rights: what an earlier image or a person added is taken back."""
    for role, statements in GRANTS.items():
        if connection.exec_driver_sql("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).first():
            for statement in (f"REVOKE ALL ON {TABLES} FROM {role}", *statements):
                connection.exec_driver_sql(statement)


def explain(error: psycopg2.Error) -> Failure:
    """Return the Failure that an error of a migration means: 75 if it may pass, 78 if a table or a right is in the way.

    Raises the error again if it is a defect of ours.
    """
    said = step.first_line(error)
    if error.pgcode == "42501":
        return Failure(BAD_CONFIGURATION, f"PostgreSQL: {said}. Use the role that owns the database and its tables.")
    if error.pgcode == "55000":
        return Failure(
            BAD_CONFIGURATION,
            f"PostgreSQL: {said}. Nothing was changed: bring them back first, as docs/object-store.md says.",
        )
    if step.is_transient(error):
        return Failure(TRY_LATER, f"PostgreSQL: {said}. Nothing was changed; the next try starts from the beginning.")
    if error.pgcode in ("0A000", "2BP01", "42701", "42703", "42804", "42830"):
        return Failure(
            BAD_CONFIGURATION,
            f"PostgreSQL: {said}. Nothing was changed: a table is not as this step or the original project made it, or "
            "something of yours, such as a view, depends on it. Drop or rename that, and run the step again.",
        )
    raise error
