"""The metrics: each query on a real PostgreSQL, what the dashboard asks for, and who may ask."""

import contextlib
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy import manifests
from deploy.charts import RELEASES
from deploy.programs import AIRFLOW, ROOT
from standins.postgres import Postgres
from tests.charts.manifests import Document, defaults, load, of_kind, read
from tests.conftest import Database

EXPORTER = "cnpg_metrics_exporter"  # CloudNativePG's role
QUERIES: dict[str, Document] = {
    query["name"]: query for query in read("helm/monitoring.yaml")["cluster"]["monitoring"]["customQueries"]
}
each_query = pytest.mark.parametrize("name", QUERIES)


# The queries


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A server with the role that CloudNativePG makes in each of its own."""
    with Postgres() as server:
        Database(server, "postgres").query(f"CREATE ROLE {EXPORTER} IN ROLE pg_monitor")
        server.create_database("empty")
        server.create_database("filled")
        assert Database(server, "filled").run("init_schema").code == 0
        Database(server, "filled").query("""
            ALTER TABLE fetches ADD COLUMN IF NOT EXISTS warnings text[] NOT NULL DEFAULT '{}';
            INSERT INTO fetches (requested_at, url, status, error, unreadable, warnings) VALUES
                (now() - interval '1 h', '', 200, NULL, 2, '{}'), (now() - interval '20 s', '', 200, NULL, 1, '{a,b}'),
                (now(), '', 429, 'throttled', 0, '{}'), (now(), '', 200, 'no launches', 0, '{}'),
                (now(), '', NULL, 'away', 0, '{}');
            INSERT INTO rocket_launches (launch_id, name, details) VALUES ('1', 'one', '{}'), ('2', 'two', '{}');
            INSERT INTO launch_changes (launch_id, field, seen_at) VALUES ('1', 'net', now()), ('2', 'net', now());
            INSERT INTO notifications (launch_id, channel, kind, attempt, facts, posted_at, edited_at) VALUES
                ('1', '', 'announced', 0, '{}', now(), now()), ('2', '', 'announced', 0, '{}', now(), NULL)
        """)
        yield server


def ask(database: Database, query: Document) -> list[dict[str, Any]] | None:
    """Ask as CloudNativePG does, see its pkg/management/postgres/metrics; None where the predicate is not true."""
    with contextlib.closing(database.server.superuser(database.name)) as connection, connection.cursor() as cursor:
        cursor.execute(f"SET SESSION AUTHORIZATION {EXPORTER}")
        cursor.execute("SET TRANSACTION READ ONLY; SET LOCAL search_path = pg_catalog, public, pg_temp")
        cursor.execute(query["predicate_query"])
        predicate = cursor.fetchall()
        assert len(predicate) <= 1
        if predicate != [(True,)]:
            return None
        cursor.execute(query["query"])
        assert cursor.description
        columns = [column.name for column in cursor.description]
        return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


@each_query
def test_a_query_gives_the_columns_that_its_metrics_are_made_of(server: Postgres, name: str) -> None:
    rows = ask(Database(server, "filled"), QUERIES[name])
    assert rows
    metrics = {column: metric for one in QUERIES[name]["metrics"] for column, metric in one.items()}
    assert {tuple(row) for row in rows} == {tuple(metrics)}
    for column, metric in metrics.items():
        assert metric["description"]
        assert metric["usage"] in ("LABEL", "COUNTER", "GAUGE")
        assert (metric["usage"] == "COUNTER") is column.endswith("total")
        assert all(isinstance(row[column], str) is (metric["usage"] == "LABEL") for row in rows)


def test_what_the_queries_say(server: Postgres) -> None:
    said = {name: ask(Database(server, "filled"), query) or [] for name, query in QUERIES.items()}
    (last,) = said["rocket_launches_fetch"]
    assert 20 <= last["age_seconds"] < 120
    assert last["unreadable_total"] == 3
    assert said["rocket_launches"] == [{"stored": 2}]
    assert said["rocket_launches_warnings"] == [{"total": 2}]
    assert said["rocket_launches_messages"] == [{"posted": 2, "edited": 1}]
    outcomes = {row["outcome"]: row["total"] for row in said["rocket_launches_fetches"]}
    assert outcomes == {"stored": 2, "throttled": 1, "failed": 2}
    changes = {row["field"]: row["total"] for row in said["rocket_launches_changes"]}
    assert {field: total for field, total in changes.items() if total} == {"net": 2}
    # Every field that can change is there from the beginning.
    check = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'launch_changes_field_check'"
    [(definition,)] = Database(server, "filled").query(check)
    assert changes.keys() == set(re.findall(r"'(\w+)'", definition))


@each_query
def test_without_tables_there_is_nothing_to_ask(server: Postgres, name: str) -> None:
    assert ask(Database(server, "empty"), QUERIES[name]) is None


@pytest.mark.parametrize(
    ("statement", "left"),
    [
        (f"REVOKE ALL ON fetches FROM {EXPORTER}", set()),
        ("ALTER TABLE fetches DROP COLUMN warnings", QUERIES.keys() - {"rocket_launches_warnings"}),
    ],
    ids=["no rights", "no column for warnings"],
)
def test_of_another_schema_only_what_is_there_is_asked(server: Postgres, statement: str, left: set[str]) -> None:
    database = Database(server, f"other_{len(left)}")
    server.create_database(database.name, template="filled")
    database.query(statement)
    assert {query for query in QUERIES if ask(database, QUERIES[query]) is not None} == left


def test_the_exporter_may_read_and_no_more(server: Postgres) -> None:
    database = Database(server, "filled")
    database.query(f"GRANT ALL ON alembic_version, rocket_launches TO {EXPORTER}")
    assert database.run("init_schema").code == 0
    rights = database.query(
        "SELECT table_name::text, privilege_type::text FROM information_schema.role_table_grants WHERE grantee = %s",
        EXPORTER,
    )
    tables = ("fetches", "launch_changes", "notifications", "rocket_launches")
    assert sorted(rights) == [(table, "SELECT") for table in tables]


def test_the_chart_hands_the_queries_on() -> None:
    """It passes over what it does not know, such as `primary`."""
    config_map = of_kind("postgres with monitoring", "ConfigMap")["postgres-monitoring"]
    (rendered,) = load(config_map["data"]["custom-queries"])
    assert [{"name": name} | query for name, query in rendered.items()] == list(QUERIES.values())
    assert config_map["metadata"]["labels"]["cnpg.io/reload"] == "true"
    (cluster,) = of_kind("postgres with monitoring", "Cluster").values()
    wanted = [{"name": "postgres-monitoring", "key": "custom-queries"}]
    assert cluster["spec"]["monitoring"]["customQueriesConfigMap"] == wanted


# The dashboard

DASHBOARD = json.loads((ROOT / "helm" / "dashboard.json").read_text(encoding="utf-8"))
# What CloudNativePG 1.30's own programs have, beside the queries.
COMPILED = {"cnpg_collector_up", "controller_runtime_reconcile_errors_total"}


def asked_by(expression: str) -> set[str]:
    """Return the metrics of an expression: the words that are no label, function, or operator."""
    bare = re.sub(r"\bby \([^)]*\)|\{[^}]*\}|\[\w+\]", "", expression)
    return {word for word in re.findall(r"[a-z_]+\b(?!\()", bare) if "_" in word}


def columns(queries: dict[str, Document]) -> set[str]:
    """Return the metrics that CloudNativePG makes of queries."""
    return {
        f"cnpg_{query.get('name', name)}_{column}"
        for name, query in queries.items()
        for metric in query["metrics"]
        for column, how in metric.items()
        if how["usage"] != "LABEL"
    }


def airflows() -> set[str]:
    """Return what Airflow's own list of its metrics comes to, by the mappings of its chart's exporter.

    Both names of a metric are sent: with and without what is variable.
    """
    (package,) = importlib.util.find_spec("airflow").submodule_search_locations  # type: ignore[union-attr,misc]
    path = Path(package) / "_shared/observability/metrics/metrics_template.yaml"
    (listed,) = load(path.read_text(encoding="utf-8"))
    (mappings,) = load(of_kind("airflow with monitoring", "ConfigMap")["airflow-statsd"]["data"]["mappings.yml"])
    found = set()
    for metric in listed["metrics"]:
        for name in {metric["name"], metric["legacy_name"]} - {"-"}:
            sent = f"airflow.{re.sub('{.*?}', 'x', name)}"
            mapped = (rule["name"] for rule in mappings["mappings"] if matches(rule, sent))
            exported = next(mapped, re.sub(r"\W", "_", sent))
            found |= {exported, f"{exported}_sum", f"{exported}_count"} if metric["type"] == "timer" else {exported}
    return found


def matches(rule: Document, sent: str) -> bool:
    """Whether a mapping is about a metric: by a regular expression, or by a pattern whose * is a part of the name."""
    regex = rule.get("match_type") == "regex"
    return bool(re.fullmatch(rule["match"] if regex else re.escape(rule["match"]).replace(r"\*", "[^.]*"), sent))


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    expressions = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    asked = set().union(*map(asked_by, expressions))
    (own,) = load(defaults("operator")["monitoringQueriesConfigMap"]["queries"])
    there = columns(QUERIES) | columns(own) | airflows() | COMPILED
    assert asked - there == set()
    assert columns(QUERIES) <= asked


def test_the_dashboard_can_be_imported() -> None:
    """Wherever the Prometheus is: it is chosen there."""
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    panels = DASHBOARD["panels"]
    assert {panel["datasource"]["uid"] for panel in panels} == {f"${{{variable['name']}}}"}
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    places = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(places)) == len(places)
    assert max(x for x, _ in places) < 24


# Who may ask


POLICIES = {policy["metadata"]["name"]: policy for policy in load((ROOT / "k8s/monitoring.yaml").read_text())}
MONITORS = {monitor["metadata"]["name"]: monitor for monitor in load((ROOT / "k8s/pod-monitors.yaml").read_text())}


@pytest.mark.parametrize(("name", "port"), [("postgres", 9187), ("statsd", 9102), ("operator", 8080)])
def test_a_prometheus_of_any_namespace_is_let_in(name: str, port: int) -> None:
    prometheus = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}}}
    policy = POLICIES[f"{name}-metrics"]["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    assert policy["ingress"] == [{"from": [prometheus], "ports": [{"port": port}]}]
    assert len(POLICIES) == len(MONITORS) == 3


@pytest.mark.parametrize(
    ("name", "release", "deployment"),
    [("statsd", "airflow with monitoring", "airflow-statsd"), ("operator", "operator", "operator-cloudnative-pg")],
)
def test_a_prometheus_finds_the_charts_pods(name: str, release: str, deployment: str) -> None:
    """PostgreSQL's are made by the operator."""
    pod = of_kind(release, "Deployment")[deployment]["spec"]["template"]
    policy, monitor = POLICIES[f"{name}-metrics"], MONITORS[name]["spec"]
    for selector in (policy["spec"]["podSelector"], monitor["selector"]):
        assert selector.get("matchLabels", {}).items() <= pod["metadata"]["labels"].items()
    assert policy["metadata"]["namespace"] == RELEASES[release.partition(" ")[0]].namespace
    assert monitor.get("namespaceSelector", {}).get("matchNames", [AIRFLOW]) == [policy["metadata"]["namespace"]]
    (container,) = pod["spec"]["containers"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    (port,) = (found["containerPort"] for found in container["ports"] if found["name"] == endpoint["port"])
    assert policy["spec"]["ingress"][0]["ports"] == [{"port": port}]


@pytest.mark.parametrize("command", [("apply",), ("delete", "--ignore-not-found")], ids=["wanted", "not wanted"])
@pytest.mark.parametrize("there", ["", "networkpolicy", "crd", "networkpolicy crd"])
def test_what_is_applied_where_it_is_wanted_is_deleted_elsewhere(
    monkeypatch: pytest.MonkeyPatch, there: str, command: tuple[str, ...]
) -> None:
    """Policies only for an operator of our own, and PodMonitors only where there is such a kind."""
    done = []

    def kubectl(*arguments: str, show: bool = False) -> str:  # noqa: ARG001  # as deploy's own
        if arguments[0] != "get":
            done.append(arguments)
        return "found" if arguments[0] == "get" and arguments[1] in there.split() else ""

    monkeypatch.setattr(manifests, "kubectl", kubectl)
    manifests.deploy_monitoring(wanted=command == ("apply",))
    policies, *monitors = done
    not_the_operators = ("-l", "app.kubernetes.io/component!=operator")
    assert policies == (*command, "-f", "k8s/monitoring.yaml", *(() if "networkpolicy" in there else not_the_operators))
    assert monitors == ([(*command, "-f", "k8s/pod-monitors.yaml")] if "crd" in there else [])


def test_what_is_not_for_somebody_elses_operator() -> None:
    components = {
        name: policy["metadata"]["labels"].get("app.kubernetes.io/component") for name, policy in POLICIES.items()
    }
    assert components == {"postgres-metrics": None, "statsd-metrics": None, "operator-metrics": "operator"}
