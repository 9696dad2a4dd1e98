"""The OpenSearch server in the cluster: its users, what each may do, and their logins; or the login of your own."""

import argparse
import json
import os
from base64 import b64decode, b64encode
from hashlib import pbkdf2_hmac
from secrets import token_hex, token_urlsafe
from textwrap import wrap

from deploy.pods import deployed_image, login_of, pod, run_to_its_end
from deploy.programs import SEARCH, TASKS, Failed, kubectl, run
from deploy.settings import certificates, has, secret, write_secret

URL = f"https://search.{SEARCH}.svc:9200"
# The lines of .env.example that are for a server of the user's own, as the step reads them.
OUTSIDE = ("SEARCH_URL", "SEARCH_USERNAME", "SEARCH_PASSWORD")
POD = "search"
SECONDS = 180  # pulling the image, and the search itself
# The users of our own server: what each may do, in the words of the security plugin.
READ = ("indices:admin/get", "indices:admin/mappings/get", "indices:data/read/get", "indices:data/read/search")
RIGHTS: dict[str, dict[str, tuple[str, ...]]] = {
    "index": {
        "cluster_permissions": ("indices:data/write/bulk",),
        "allowed_actions": (
            *READ,
            "indices:admin/create",
            "indices:admin/delete",
            "indices:admin/aliases",
            "indices:admin/refresh*",  # of the index, and of each of its shards
            "indices:data/write/bulk*",
            "indices:data/write/index",
            "indices:data/write/delete",
        ),
    },
    "reader": {"cluster_permissions": (), "allowed_actions": READ},  # for people
}
INDICES = ("launches", "launches-*")
ROUNDS = 1000  # the passwords are random: more would make each login slower, and nothing safer

# Runs in the server's pod, which has the administrator's certificate.
SCRIPT = """
set -eu
cd /usr/share/opensearch/config/tls
put() {
  curl --silent --show-error --fail-with-body --cacert ca.crt --cert admin.crt --key admin.key --request PUT \\
    --header 'Content-Type: application/json' --data-binary @- "https://localhost:9200/_plugins/_security/api/$1" >&2
}
"""


def security_files(passwords: dict[str, str]) -> dict[str, str]:
    """Return the security plugin's files, which it reads at its first start alone, with these users and passwords."""
    basic = {
        "http_enabled": True,
        "order": 0,
        "http_authenticator": {"type": "basic", "challenge": True},
        "authentication_backend": {"type": "intern"},
    }
    roles = {
        user: {
            "cluster_permissions": rights["cluster_permissions"],
            "index_permissions": [{"index_patterns": INDICES, "allowed_actions": rights["allowed_actions"]}],
        }
        for user, rights in RIGHTS.items()
    }
    contents: dict[str, dict[str, object]] = {
        "config": {"config": {"dynamic": {"authc": {"basic": basic}}}},
        "internalusers": {user: {"hash": hashed(password)} for user, password in passwords.items()},
        "roles": dict(roles),
        "rolesmapping": {user: {"users": [user]} for user in RIGHTS},
        "actiongroups": {},
        "tenants": {},
    }
    names = {"internalusers": "internal_users", "rolesmapping": "roles_mapping", "actiongroups": "action_groups"}
    return {
        f"{names.get(kind, kind)}.yml": json.dumps({"_meta": {"type": kind, "config_version": 2}} | content, indent=1)
        for kind, content in contents.items()
    }


def hashed(password: str) -> str:
    """Return what the server keeps of a password: PBKDF2 with SHA-256 (3), as its library password4j writes it."""
    salt = token_hex(16).encode()
    digest = pbkdf2_hmac("sha256", password.encode(), salt, ROUNDS)
    return f"$3${ROUNDS << 32 | 8 * len(digest)}${b64encode(salt).decode()}${b64encode(digest).decode()}"


def search_url(chosen: dict[str, str]) -> str:
    """Return where the index is: your own server, or the one in the cluster; empty where there is none."""
    return chosen.get("SEARCH_URL", "").rstrip("/") or (URL if has(chosen, "search") else "")


def write_search_secrets(chosen: dict[str, str]) -> None:
    """Write the login of each user of the server, for the pods that come as it; take them away where there is none."""
    if chosen.get("SEARCH_URL"):
        values = {key: chosen[key] for key in OUTSIDE if chosen.get(key)} | certificates(chosen, "SEARCH_CA")
        write_secret(TASKS, "search-index", values | {"SEARCH_URL": search_url(chosen)})
        kubectl("delete", "secret", "search-reader", "-n", TASKS, "--ignore-not-found")
    elif has(chosen, "search"):
        tls = secret(SEARCH, "search-tls")
        if not tls:
            tls = make_certificates()
            write_secret(SEARCH, "search-tls", tls)
        passwords = {}
        for user in RIGHTS:
            there = secret(TASKS, f"search-{user}")
            ours = there.get("SEARCH_URL") == URL
            passwords[user] = (ours and there.get("SEARCH_PASSWORD")) or token_urlsafe(24)
            values = {"SEARCH_URL": URL, "SEARCH_USERNAME": user, "SEARCH_PASSWORD": passwords[user]}
            write_secret(TASKS, f"search-{user}", values | {"SEARCH_CA": tls["ca.crt"]})
        write_secret(SEARCH, "search-security", security_files(passwords))
    else:
        old = (f"search-{user}" for user in RIGHTS)
        kubectl("delete", "secret", *old, "-n", TASKS, "--ignore-not-found")


def make_certificates() -> dict[str, str]:
    """Return a CA's certificate, and the server's and its administrator's with their keys, for ten years, by Helm."""
    *_, line = run("helm", "template", "certificates", "helm/certificates").splitlines()
    made: dict[str, str] = json.loads(line)
    return {name: pkcs8(text) if name.endswith(".key") else text for name, text in made.items()}


def pkcs8(key: str) -> str:
    """Return a key of the curve P-256 as OpenSearch's documents ask for it, PKCS #8: Helm writes SEC 1, its content."""
    content = b64decode("".join(key.splitlines()[1:-1]))
    kind = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")  # a key of an elliptic curve, which is P-256
    inside = b"\x02\x01\x00" + kind + b"\x04" + bytes([len(content)]) + content
    lines = wrap(b64encode(b"\x30\x81" + bytes([len(inside)]) + inside).decode(), 64)
    first, last = (f"-----{word} PRIVATE KEY-----" for word in ("BEGIN", "END"))
    return "\n".join([first, *lines, last, ""])


def set_up_search(chosen: dict[str, str]) -> None:
    """Bring our server's users up to date with their Secrets, and their rights; again is harmless."""
    if not has(chosen, "search"):
        raise Failed("These are the users of the server of WITH=search, which is not set: set it in .env.")
    write_search_secrets(chosen)
    passwords = {user: secret(TASKS, f"search-{user}")["SEARCH_PASSWORD"] for user in RIGHTS}
    kubectl("exec", "-i", "-n", SEARCH, "search-0", "--", "sh", "-s", stdin=script(security_files(passwords)))


def script(files: dict[str, str]) -> str:
    """Return what tells the server by its REST API what the files say of users and rights."""
    lines = [SCRIPT]
    for text in files.values():
        content = json.loads(text)
        kind = content.pop("_meta")["type"]
        if kind != "config":  # how users log in, which the API does not change
            lines += [f"put {kind}/{name} <<'END'\n{json.dumps(of_it)}\nEND" for name, of_it in content.items()]
    return "\n".join([*lines, ""])


def search(_arguments: argparse.Namespace) -> int:
    """Print the launches that Q asks for, of PROVIDER, SINCE a date, in a STATUS; return the program's exit code."""
    login = login_of("search-reader", "search-index")
    if not login:
        raise Failed("There is no index: make up WITH=search brings a server for it, SEARCH_URL in .env names yours.")
    words = [f"--{name.lower()}={value}" for name in ("PROVIDER", "SINCE", "STATUS") if (value := os.environ.get(name))]
    words += ["--", query] if (query := os.environ.get("Q")) else []
    # Kubernetes puts a variable in the place of $(NAME), such as the password's.
    container = {"command": ["python", "-m", "index.search"], "args": [word.replace("$", "$$") for word in words]}
    labels, image = {"egress": "search"}, deployed_image("IMAGE_INDEX")
    manifest = pod(POD, image, container, secrets=[{"name": login}], labels=labels, seconds=SECONDS)
    return run_to_its_end(manifest, SECONDS)
