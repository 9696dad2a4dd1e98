"""No file of the repository holds a secret."""

import re
import subprocess

import pytest

from tests.conftest import ROOT

SECRETS = {
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "webhook": r"discord(?:app)?\.com/api/(?:v\d+/)?webhooks/\d{17,20}/[\w-]{60,}",
    "Launch Library key": r"(?<!@)\b[0-9a-f]{40}\b",  # the commit of an action comes after an @
    "cloud or forge key": r"\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_\w{36}|glpat-[\w-]{20}|xox[abprs]-[\w-]{10,})",
    "password in an address": r"\w://[\w.-]+:[^\s@/{}$]{8,}@",
    "password": (r"(?i:password|passwd|secret|token)['\"]?\s?[:=]\s?['\"]?(?=[\w+/-]*\d)(?=[\w+/-]*[A-Z])[\w+/-]{16,}"),
}


def found(text: str) -> list[str]:
    return [name for name, pattern in SECRETS.items() if re.search(pattern, text)]


def test_no_tracked_file_holds_a_secret() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no clone of the repository")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert len(files) > 50
    texts = {str(file.relative_to(ROOT)): file.read_text(errors="replace") for file in files if file.is_file()}
    assert {name: secrets for name, text in texts.items() if (secrets := found(text))} == {}
    assert not {name for name in texts if re.search(r"(^|/)\.env$|\.(pem|key|p12|kubeconfig)$", name)}


@pytest.mark.parametrize(
    ("name", "text"),
    [  # in two parts each, or this file would be found itself
        ("private key", "-----BEGIN RSA PRIV" + "ATE KEY-----"),
        ("webhook", f"https://discord.com/api/webhooks/{18 * '1'}/{68 * 'x'}"),
        ("Launch Library key", "LAUNCH_LIBRARY_TOKEN=" + 20 * "0f"),
        ("cloud or forge key", "ghp_" + 36 * "x"),
        ("password in an address", "postgresql://rocket:" + "Zr8xQ2mLw1@postgres/launches"),
        ("password", "POSTGRES_PASSWORD=" + "pR3tT7yL0ngAndRandom"),
    ],
)
def test_a_secret_would_be_found(name: str, text: str) -> None:
    assert name in found(text)
