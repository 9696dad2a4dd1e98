"""`python3 -m deploy` where there is no cluster yet."""

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.verification import PolicyBuilder, Store

from deploy import __main__ as command_line
from deploy import charts, kafka, kind, search, settings
from deploy.charts import wanted
from deploy.images import STAND_IN_IMAGE
from deploy.programs import CACHE, CONTEXT, TASKS, Failed, phase, run
from tests.conftest import ROOT

Start = Callable[..., "subprocess.Popen[str]"]
WAITS = "Another make up, deploy or down works on {}: waiting for its end.\n"


def program(cache: Path, name: str, script: str) -> Path:
    """Make a program that is found before the real one, where `make offline` puts its own."""
    path = cache / "rocket-launches" / "bin" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A file that is there once `kind` runs, which takes a minute."""
    program(tmp_path, "docker", "true")
    return program(tmp_path, "kind", 'touch "$0.runs"; exec sleep 60').with_suffix(".runs")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `python3 -m deploy` with a cache folder of its own, and no cluster that it could know."""
    nothing = {"XDG_CACHE_HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "none"), "KUBE_CONTEXT": ""}
    started = []

    def start(*arguments: str, **env: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy", *arguments],
            cwd=ROOT,
            env=os.environ | nothing | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.05)


def test_two_do_not_change_a_cluster_at_once(runs: Path, start: Start) -> None:
    first = start("down")
    wait_for(runs)
    runs.unlink()
    second = start("down")
    assert second.stdout
    assert second.stdout.readline() == WAITS.format("kind-rocket-launches")
    time.sleep(0.5)
    assert not runs.exists()
    # However the first one ends; what it had started may go on.
    first.kill()
    wait_for(runs)


def test_what_does_not_change_that_cluster_does_not_wait(tmp_path: Path, runs: Path, start: Start) -> None:
    start("down")
    wait_for(runs)
    other = start("down", KUBE_CONTEXT="arn:aws:eks:eu-west-1:1:cluster/other")
    assert "make down deletes its own kind cluster only" in other.communicate(timeout=20)[1]
    program(tmp_path, "kubectl", 'if [ "$1" = version ]; then echo v1.35.4; fi')
    assert start("values", "operator").communicate(timeout=20) == ("{}\n", "")


def test_a_charts_path_is_all_that_is_printed(tmp_path: Path, start: Start) -> None:
    """Helm takes it from there, so that a warning must go elsewhere."""
    program(tmp_path, "helm", "echo v4.3.1")
    (tmp_path / "airflow").mkdir()
    (tmp_path / "airflow" / "Chart.yaml").touch()
    printed, said = start("chart", "airflow", CHARTS_DIR=str(tmp_path)).communicate(timeout=20)
    assert printed == f"{tmp_path / 'airflow'}\n"
    assert "is used as it is" in said


def test_another_digest_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever upgrades a chart puts it into helm/charts.lock. What was downloaded is not used before."""
    packed = tmp_path / f"airflow-{charts.locked_charts()['airflow'][0]}.tgz"
    found = f"sha256:{hashlib.sha256(b'newer').hexdigest()}"
    monkeypatch.setenv("CHARTS_DIR", str(tmp_path))
    monkeypatch.setattr(charts, "run", lambda *_, **__: packed.write_bytes(b"newer"))
    chart_path = charts.chart_path.__wrapped__  # without its cache
    with pytest.raises(Failed, match=f"has the digest {found}"):
        chart_path("airflow")
    assert not packed.exists()
    packed.write_bytes(b"newer")
    assert chart_path("airflow") == str(packed)
    assert f"has the digest {found}" in capsys.readouterr().err


def test_what_the_node_has_is_not_loaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {"IMAGE_FETCH": "rocket-launches/fetch:0123456789ab"}
    others = [image for release in wanted({}).values() for image in release.images]
    node = [f"docker.io/{ours['IMAGE_FETCH']}", f"docker.io/library/{STAND_IN_IMAGE}", others[0]]
    loaded = []

    def run(*command: str, **_: object) -> str:
        if command[0] == "kind":
            loaded.append(command[3])
        return "\n".join(node) if command[0] == "docker" else ""

    monkeypatch.setattr(kind, "run", run)
    monkeypatch.setattr(kind, "build", lambda _: "")
    monkeypatch.setattr(kind, "is_there", lambda _: True)
    monkeypatch.setattr(kind, "references", lambda: ours)
    monkeypatch.setenv("STAND_INS", "yes")
    monkeypatch.delenv("MONITORING", raising=False)
    assert kind.load_images() == ours
    assert loaded == others[1:]


def test_what_somebody_else_has_brought_is_used_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second operator would fight with the first over the same databases."""
    done = []

    def helm(*command: str, **_: object) -> str:
        done.append(command[0])
        return ""

    def kubectl(*command: str, **_: object) -> str:
        if command[0] != "get":
            done.append(command[0])
        return "crd/clusters" if command[-1] == "name" else owner

    monkeypatch.setattr(charts, "helm", helm)
    monkeypatch.setattr(charts, "kubectl", kubectl)
    monkeypatch.setattr(charts, "chart_path", lambda name: name)
    monkeypatch.setattr(charts, "values_of", lambda *_: {})
    owner = "somebody-elses"
    charts.install("operator", {})
    assert done == []
    assert "clusters.postgresql.cnpg.io" in capsys.readouterr().out
    owner = "operator"
    charts.install("operator", {})
    assert done == ["apply", "list", "upgrade"]


def test_a_part_is_installed_only_where_somebody_wants_it() -> None:
    always = ["operator", "postgres", "s3", "airflow"]
    assert list(wanted({})) == list(wanted({"WITH": ""})) == always
    assert list(wanted({"WITH": "search"})) == [*always[:-1], "search", "airflow"]
    assert list(wanted({"WITH": " stream  search"})) == [*always[:-1], "kafka", "search", "airflow"]


@pytest.mark.parametrize("store", ["s3://bucket", "none"])
def test_there_is_no_server_beside_a_store_of_ones_own(store: str) -> None:
    assert list(wanted({"OBJECT_STORE": store})) == ["operator", "postgres", "airflow"]


# Kafka


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"WITH": "stream searhc"}, "WITH names searhc, and there is only: stream, search."),
        ({"WITH": "stream", "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092"}, "set one of them."),
        ({"KAFKA_BOOTSTRAP_SERVERS": "kafka"}, "and kafka is none."),
        ({"KAFKA_BOOTSTRAP_SERVERS": "one:9092, two:http"}, "and two:http is none."),
        ({"KAFKA_BOOTSTRAP_SERVERS": ":9092"}, "and :9092 is none."),
        ({"KAFKA_BOOTSTRAP_SERVERS": "one:99999"}, "and one:99999 is none."),
    ],
)
def test_what_cannot_work_with_kafka_is_said_before_anything_is_done(
    chosen: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "settings", lambda: chosen)
    with pytest.raises(Failed, match=re.escape(said)):
        settings.check_settings()


def test_where_kafka_is() -> None:
    assert kafka.bootstrap_servers({}) == ""
    assert kafka.bootstrap_servers({"WITH": "stream"}) == "kafka.kafka.svc:9092"
    own = {"KAFKA_BOOTSTRAP_SERVERS": "one:9093, two:9094,[::1]:9093"}
    assert kafka.bootstrap_servers(own) == own["KAFKA_BOOTSTRAP_SERVERS"]
    assert settings.kafka_ports(own) == [9093, 9094]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """The Secrets of Kafka and of the search server that are there, by namespace and name, in place of a cluster's."""
    there: dict[str, dict[str, str]] = {}

    def kubectl(*arguments: str) -> str:
        assert arguments[:2] == ("delete", "secret")
        for name in arguments[2:-3]:
            there.pop(f"rocket-launches/{name}", None)
        return ""

    for module in (kafka, search):
        monkeypatch.setattr(module, "secret", lambda namespace, name: there.get(f"{namespace}/{name}", {}))
        monkeypatch.setattr(
            module, "write_secret", lambda namespace, name, values: there.update({f"{namespace}/{name}": values})
        )
        monkeypatch.setattr(module, "kubectl", kubectl)
    made = iter(range(10))
    monkeypatch.setattr(search, "make_certificates", lambda: {"ca.crt": f"certificate {next(made)}"})
    return there


def test_each_user_of_our_kafka_has_a_login_of_its_own_which_stays(written: dict[str, dict[str, str]]) -> None:
    chosen = {"WITH": "stream"}
    kafka.write_kafka_secrets(chosen)
    first = dict(written)
    assert first.keys() == {"kafka/kafka-logins", "rocket-launches/kafka-stream", "rocket-launches/kafka-reader"}
    passwords = [values["KAFKA_PASSWORD"] for values in first.values() if "KAFKA_PASSWORD" in values]
    assert len({*passwords, *first["kafka/kafka-logins"].values()}) == 5
    assert all(len(password) >= 32 for password in passwords)
    written["kafka/kafka-tls"] = {"ca.crt": "-----BEGIN CERTIFICATE-----"}
    kafka.write_kafka_secrets(chosen)
    for name, values in first.items():
        assert written[name].items() >= values.items()
    assert written["rocket-launches/kafka-reader"]["KAFKA_CA"] == "-----BEGIN CERTIFICATE-----"
    assert "KAFKA_CA" not in written["kafka/kafka-logins"]


def test_the_login_of_a_kafka_of_ones_own_takes_its_place(written: dict[str, dict[str, str]], tmp_path: Path) -> None:
    kafka.write_kafka_secrets({"WITH": "stream"})
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    own = {"KAFKA_BOOTSTRAP_SERVERS": "one:9093", "KAFKA_USERNAME": "me", "KAFKA_PASSWORD": "hush"}
    kafka.write_kafka_secrets(own | {"KAFKA_CA": str(tmp_path / "ca.pem"), "WITH": ""})
    assert written["rocket-launches/kafka-stream"] == own | {"KAFKA_CA": "-----BEGIN CERTIFICATE-----\n"}
    assert "rocket-launches/kafka-reader" not in written
    # And back: the outside's password is not ours.
    kafka.write_kafka_secrets({"WITH": "stream"})
    assert written["rocket-launches/kafka-stream"]["KAFKA_PASSWORD"] != "hush"
    kafka.write_kafka_secrets({})
    assert written.keys() == {"kafka/kafka-logins"}


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_a_file_of_certificates_that_is_none(tmp_path: Path, text: str | None) -> None:
    if text:
        (tmp_path / "ca.pem").write_text(text)
    with pytest.raises(Failed, match=r"^KAFKA_CA names .*ca\.pem, which"):
        settings.certificates({"KAFKA_CA": str(tmp_path / "ca.pem")}, "KAFKA_CA")


def test_kafkas_own_words_give_no_password_away(
    written: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka.write_kafka_secrets({"WITH": "stream"})

    def kubectl(*_: str, stdin: str = "") -> str:
        raise Failed(f"exec failed: Invalid credential property in {stdin}")

    monkeypatch.setattr(kafka, "kubectl", kubectl)
    with pytest.raises(Failed, match="Invalid credential property") as failure:
        kafka.set_up_kafka({"WITH": "stream"})
    assert "user reader" in str(failure.value)
    for name in ("kafka-stream", "kafka-reader"):
        assert written[f"rocket-launches/{name}"]["KAFKA_PASSWORD"] not in str(failure.value)


def test_what_makes_the_users_is_a_sound_script() -> None:
    text = kafka.script({"stream": "one", "reader": "two"})
    shellcheck = Path(sys.executable).with_name("shellcheck")
    subprocess.run([shellcheck, "--shell", "sh", "--exclude", "SC2016", "-"], input=text, text=True, check=True)
    assert text.count("as_admin kafka-acls --add") == sum(map(len, kafka.RIGHTS.values()))


# Search


@pytest.mark.parametrize(
    "url",
    [
        *("search", "search:9200", "ftp://search:9200", "https://", "https://:9200", "https://search:0"),
        *("https://search:99999", "https://search:9200/launches", "https://search?pretty", "https://one https://two"),
        *("https://me:hush@search:9200", "https://search:9200\n", "https://search:٩"),
    ],
)
def test_an_address_of_a_search_server_that_is_none(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "settings", lambda: {"SEARCH_URL": url})
    with pytest.raises(Failed, match=r"^SEARCH_URL in \.env takes the address of a server") as failure:
        settings.check_settings()
    assert "hush" not in str(failure.value)


def test_there_is_one_search_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "settings", lambda: {"WITH": "search", "SEARCH_URL": "https://search:9200"})
    with pytest.raises(Failed, match=r"WITH=search brings a server and .*: set one of them\."):
        settings.check_settings()


def test_where_the_search_server_is() -> None:
    assert (search.search_url({}), settings.search_ports({})) == ("", [])
    assert search.search_url({"WITH": "search"}) == "https://search.search.svc:9200"
    for url, port in {
        "https://search.example.org": 443,
        "http://search": 80,
        "https://[::1]:9201": 9201,
        "https://10.1.2.3:9200/": 9200,
    }.items():
        assert search.search_url({"SEARCH_URL": url}) == url.rstrip("/")
        assert settings.search_ports({"SEARCH_URL": url}) == [port]


def test_each_user_of_our_search_server_has_a_login_of_its_own_which_stays(written: dict[str, dict[str, str]]) -> None:
    search.write_search_secrets({"WITH": "search"})
    first = dict(written)
    users = {"rocket-launches/search-index", "rocket-launches/search-reader"}
    assert first.keys() == {"search/search-tls", "search/search-security", *users}
    passwords = {first[name]["SEARCH_PASSWORD"] for name in users}
    assert len(passwords) == 2
    assert all(len(password) >= 32 for password in passwords)
    assert {first[name]["SEARCH_CA"] for name in users} == {"certificate 0"}
    # The server gets what it needs to know them, and not them.
    assert not [text for text in first["search/search-security"].values() for word in passwords if word in text]
    search.write_search_secrets({"WITH": "search"})
    assert {name: written[name] for name in (*users, "search/search-tls")}.items() <= first.items()
    # What was lost is made anew, and reaches those who have to know it.
    del written["search/search-tls"], written["rocket-launches/search-reader"]
    search.write_search_secrets({"WITH": "search"})
    assert {written[name]["SEARCH_CA"] for name in users} == {"certificate 1"}
    assert written["rocket-launches/search-reader"]["SEARCH_PASSWORD"] not in passwords


def test_the_login_of_a_search_server_of_ones_own_takes_its_place(
    written: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    search.write_search_secrets({"WITH": "search"})
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    own = {"SEARCH_URL": "https://one:9200", "SEARCH_USERNAME": "me", "SEARCH_PASSWORD": "hush"}
    search.write_search_secrets(
        own | {"SEARCH_URL": "https://one:9200/", "SEARCH_CA": str(tmp_path / "ca.pem"), "WITH": ""}
    )
    assert written["rocket-launches/search-index"] == own | {"SEARCH_CA": "-----BEGIN CERTIFICATE-----\n"}
    assert "rocket-launches/search-reader" not in written
    # And back: the outside's password is not ours.
    search.write_search_secrets({"WITH": "search"})
    assert written["rocket-launches/search-index"]["SEARCH_PASSWORD"] != "hush"
    search.write_search_secrets({})
    assert written.keys() == {"search/search-tls", "search/search-security"}


def test_the_search_servers_certificates_are_what_it_and_its_clients_take() -> None:
    if not shutil.which("helm", path=f"{CACHE / 'bin'}{os.pathsep}{os.environ['PATH']}"):
        pytest.skip("no helm here: k8s/offline/build programs makes it")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("PATH", f"{CACHE / 'bin'}{os.pathsep}{os.environ['PATH']}")
        made, other = search.make_certificates(), search.make_certificates()
    assert not set(made.values()) & set(other.values())
    certificates = {
        name: x509.load_pem_x509_certificate(made[f"{name}.crt"].encode()) for name in ("ca", "tls", "admin")
    }
    store = Store([certificates["ca"]])
    PolicyBuilder().store(store).build_server_verifier(x509.DNSName("search.search.svc")).verify(
        certificates["tls"], []
    )
    certificates["admin"].verify_directly_issued_by(certificates["ca"])
    assert certificates["admin"].subject.rfc4514_string() == "CN=admin"
    assert certificates["tls"].subject != certificates["ca"].subject
    for name in ("tls", "admin"):
        key, certificate = made[f"{name}.key"].encode(), certificates[name]
        private = serialization.load_pem_private_key(key, None)
        assert private.public_key() == certificate.public_key()
        assert key.startswith(b"-----BEGIN PRIV" + b"ATE KEY-----\n")  # PKCS #8
        assert max(map(len, key.splitlines())) == 64
        assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == timedelta(days=3650)


def test_what_makes_the_users_of_the_search_server_is_a_sound_script() -> None:
    text = search.script(search.security_files({"index": "one", "reader": "two"}))
    shellcheck = Path(sys.executable).with_name("shellcheck")
    subprocess.run([shellcheck, "--shell", "sh", "-"], input=text, text=True, check=True)
    told = re.findall(r"^put (\S+) <<'END'\n(.+)\nEND$", text, re.MULTILINE)
    kinds = ("internalusers", "roles", "rolesmapping")
    assert [what for what, _ in told] == [f"{kind}/{user}" for kind in kinds for user in search.RIGHTS]
    assert all(json.loads(body) for _, body in told)


def test_the_users_go_to_the_server_by_standard_input(
    written: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Failed, match="WITH=search, which is not set"):
        search.set_up_search({})
    commands = []
    monkeypatch.setattr(search, "kubectl", lambda *command, stdin: commands.append((command, stdin)))
    search.set_up_search({"WITH": "search"})
    [(command, text)] = commands
    assert command == ("exec", "-i", "-n", "search", "search-0", "--", "sh", "-s")
    assert text.count("\nput ") == 6
    for user in search.RIGHTS:
        assert written[f"rocket-launches/search-{user}"]["SEARCH_PASSWORD"] not in text


# channels.toml


def test_the_text_of_channels_toml_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHANNELS", raising=False)
    (tmp_path / ".env").write_text("SCHEDULE=@hourly\n")
    assert settings.read_settings(tmp_path / ".env")["CHANNELS"] == ""
    (tmp_path / "channels.toml").write_text('[[channel]]\nname = "🚀"\n', encoding="utf-8")
    chosen = settings.read_settings(tmp_path / ".env")
    assert (chosen["CHANNELS"], chosen["SCHEDULE"]) == ('[[channel]]\nname = "🚀"\n', "@hourly")
    assert settings.steps_settings(chosen)["CHANNELS"] == chosen["CHANNELS"]


@pytest.mark.parametrize("kind", ["latin-1", "folder"])
def test_a_channels_toml_that_is_no_text_is_said_in_a_sentence(tmp_path: Path, kind: str) -> None:
    if kind == "folder":
        (tmp_path / "channels.toml").mkdir()
    else:
        (tmp_path / "channels.toml").write_text('name = "hush ü"\n', encoding=kind)
    with pytest.raises(Failed, match=r"^channels\.toml cannot be read") as failure:
        settings.read_settings(tmp_path / ".env")
    assert "hush" not in str(failure.value)


def test_with_stand_ins_the_real_channels_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHANNELS", "real ones")
    monkeypatch.setenv("STAND_INS", "yes")
    assert settings.steps_settings(settings.settings())["CHANNELS"] == ""
    monkeypatch.delenv("STAND_INS")
    monkeypatch.setattr(settings, "read_lines", lambda _: {})  # whatever .env here says
    assert settings.settings()["CHANNELS"] == "real ones"


# What is seen of it


def test_a_phase_shows_its_commands_and_its_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    with phase("cluster"):
        run("true")  # a look-up
    assert re.fullmatch(r"cluster +0 s\n", capsys.readouterr().out)
    with phase("cluster"):
        run("echo", "two words", show=True)
        run("cat", stdin="hush", show="python3 -m deploy values airflow")
    shown = ["  $ echo 'two words'", "  $ python3 -m deploy values airflow | cat"]
    first, *lines, last = capsys.readouterr().out.splitlines()
    assert (first.rstrip(), lines) == ("cluster", shown)
    assert re.fullmatch(r"cluster +0 s", last)
    with pytest.raises(Failed, match=r"^false failed"), phase("cluster"):
        run("false", show=True)
    assert capsys.readouterr().out.splitlines()[1:] == ["  $ false", "cluster   failed after 0 s"]


def test_outside_of_a_phase_a_command_is_no_output(capsys: pytest.CaptureFixture[str]) -> None:
    run("true", show=True)
    assert capsys.readouterr() == ("", "  $ true\n")


def test_all_that_changes_the_cluster_is_shown_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = tmp_path / "said"
    for name in ("kubectl", "helm"):
        answers = f'*" -f -") cat >>{said}.stdin ;; *" -l task_id "*) printf rebuild_from_store ;;'
        path = program(tmp_path, name, f'echo "${{0##*/}} $*" >>{said}; case "$*" in {answers} esac')
        monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STAND_INS", "yes")
    monkeypatch.setattr(charts, "chart_path", lambda name: name)
    monkeypatch.setattr(command_line, "trigger_and_wait", lambda: {"": "success"})
    monkeypatch.setattr(command_line, "set_up_bucket", lambda: None)
    command_line.install_everything({"IMAGE_AIRFLOW": "airflow:0123"})

    output = capsys.readouterr().out
    phases = re.findall(r"^([a-z ]+?) +\d+ s$", output, re.MULTILINE)
    assert phases == ["secrets", "operator", "database", "objects", "airflow", "first run"]
    assert "  rebuild_from_store is running: a scheduler that is replaced waits for its end" in output
    shown = [line.rpartition(" | ")[2] for line in re.findall(r"^  \$ (.*)", output, re.MULTILINE)]
    looks_up = re.compile(" (get|get-contexts|list|create) ")  # the last prints what is then applied
    kubectl = f"kubectl --context {CONTEXT}"
    removed = "secret/discord secret/heartbeat secret/launch-library configmap/launch-library"
    secrets = (
        f"{kubectl} apply --server-side --force-conflicts -f -",
        f"{kubectl} delete {removed} -n {TASKS} --ignore-not-found",
        f"{kubectl} delete secret kafka-stream kafka-reader -n {TASKS} --ignore-not-found",
        f"{kubectl} delete secret search-index search-reader -n {TASKS} --ignore-not-found",
    )
    expected = [line for line in said.read_text().splitlines() if not looks_up.search(line) and line not in secrets]
    assert "python3 -m deploy secrets" in shown  # which does that
    assert [" ".join(shlex.split(line)) for line in shown if not line.startswith("python3")] == expected
    assert len([line for line in expected if line.startswith("helm")]) == len(wanted({}))

    # YAML of the other manifests is in between.
    written = re.findall(
        r'\{"apiVersion": "v1", "kind": "Secret".*?"stringData": (\{.*?\})\}', Path(f"{said}.stdin").read_text()
    )
    values = [value for found in written for value in json.loads(found).values() if len(value) > 15]
    assert len(values) > 10
    assert [value for value in values if value in output] == []
