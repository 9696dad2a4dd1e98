"""The logins of the object store, as the deployment writes them."""

import json
from typing import Any

import pytest

from deploy import objects
from deploy.programs import S3

OWN = {"OBJECT_STORE": "s3://mine/launches", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": ""}
LOGINS = {(objects.namespace_of(user), f"objects-{user}") for user in objects.USERS}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], dict[str, str]]:
    """The Secrets of a cluster, which is empty."""
    there: dict[tuple[str, str], dict[str, str]] = {}

    def write(namespace: str, name: str, values: dict[str, str]) -> None:
        there[namespace, name] = values

    def kubectl(*command: str, **_: object) -> str:
        if command[:2] == ("delete", "secret"):
            there.pop((command[4], command[2]), None)
        return ""

    monkeypatch.setattr(objects, "secret", lambda namespace, name: there.get((namespace, name), {}))
    monkeypatch.setattr(objects, "write_secret", write)
    monkeypatch.setattr(objects, "kubectl", kubectl)
    return there


def test_each_user_of_our_own_server_has_a_key_of_its_own_which_is_kept(cluster: dict[Any, dict[str, str]]) -> None:
    objects.write_object_secrets({})
    before = json.dumps(sorted(cluster.items()))
    assert set(cluster) == {(S3, "s3-root"), *LOGINS}
    keys = [values.get("AWS_SECRET_ACCESS_KEY") or values["rootSecretAccessKey"] for values in cluster.values()]
    assert len(set(keys)) == len(keys)
    assert all(len(key) > 20 for key in keys)
    objects.write_object_secrets({"OBJECT_STORE": ""})
    assert json.dumps(sorted(cluster.items())) == before


def test_a_store_of_ones_own_has_one_login_and_ours_is_no_longer_used(cluster: dict[Any, dict[str, str]]) -> None:
    objects.write_object_secrets({})
    objects.write_object_secrets(OWN | {"SCHEDULE": "@hourly"})
    used = {key: value for key, value in OWN.items() if value}
    assert {login: cluster[login] for login in LOGINS} == dict.fromkeys(LOGINS, used)


def test_the_login_of_another_store_is_no_key_of_our_server(cluster: dict[Any, dict[str, str]]) -> None:
    objects.write_object_secrets(OWN)
    objects.write_object_secrets({})
    assert "b" not in {values.get("AWS_SECRET_ACCESS_KEY") for values in cluster.values()}


def test_without_a_store_there_is_no_login(cluster: dict[Any, dict[str, str]]) -> None:
    objects.write_object_secrets(OWN)
    objects.write_object_secrets({"OBJECT_STORE": "none"})
    assert cluster == {}
