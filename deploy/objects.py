"""The object store: who may do what there; and our own server's bucket, users and policy."""

import hashlib
import hmac
import json
import urllib.error
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from secrets import token_urlsafe
from typing import Any
from xml.sax.saxutils import escape

from deploy.programs import AIRFLOW, S3, TASKS, Failed, forward, kubectl, one_line
from deploy.settings import secret, write_secret

BUCKET = "launches"
ENDPOINT = f"http://s3.{S3}.svc:7070"
REGION = "us-east-1"
# The lines of .env.example that are for a store of the user's own; each is a variable that its library knows.
OUTSIDE = (
    "OBJECT_STORE",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
)
# The users of our own server: what each may do with the objects below a prefix.
USERS: dict[str, dict[str, tuple[str, ...]]] = {
    "fetch": {"launch-library/": ("ListBucket", "GetObject", "PutObject")},
    "notify": {"launch-library/": ("GetObject",)},
    "publish": {
        "launch-library/": ("GetObject",),
        "crawled/": ("GetObject",),
        "public/": ("ListBucket", "GetObject", "PutObject", "DeleteObject"),
    },
    "index": {"launch-library/": ("GetObject",)},
    "crawl": {"launch-library/": ("GetObject",), "crawled/": ("ListBucket", "GetObject", "PutObject")},
    "thin": dict.fromkeys(("launch-library/", "backups/"), ("ListBucket", "GetObject", "DeleteObject")),
    "backup": {"backups/": ("ListBucket", "GetObject", "PutObject")},
}


def write_object_secrets(chosen: dict[str, str]) -> None:
    """Write the login of each user of the object store, for the pods that come as it; with `none`, take them away."""
    store = chosen.get("OBJECT_STORE")
    for user in USERS:
        name = f"objects-{user}"
        namespace = namespace_of(user)
        if store == "none":
            kubectl("delete", "secret", name, "-n", namespace, "--ignore-not-found")
        elif store:
            write_secret(namespace, name, {key: chosen[key] for key in OUTSIDE if chosen.get(key)})
        else:
            there = secret(namespace, name)
            ours = there.get("AWS_ENDPOINT_URL") == ENDPOINT
            key = (ours and there.get("AWS_SECRET_ACCESS_KEY")) or token_urlsafe(24)
            values = {
                "OBJECT_STORE": f"s3://{BUCKET}",
                "AWS_ENDPOINT_URL": ENDPOINT,
                "AWS_REGION": REGION,
                "AWS_ACCESS_KEY_ID": user,
                "AWS_SECRET_ACCESS_KEY": key,
            }
            write_secret(namespace, name, values)
    if not store and not secret(S3, "s3-root"):
        write_secret(S3, "s3-root", {"rootAccessKeyId": "root", "rootSecretAccessKey": token_urlsafe(24)})


def namespace_of(user: str) -> str:
    """Return where the pods are that come as this user."""
    return AIRFLOW if user == "backup" else TASKS


def policy() -> dict[str, Any]:
    """Return the bucket's policy: each user has what USERS says, and everybody may read what is published."""
    bucket = f"arn:aws:s3:::{BUCKET}"
    statements: list[dict[str, Any]] = []
    for user, prefixes in USERS.items():
        for prefix, actions in prefixes.items():
            statement = {"Effect": "Allow", "Principal": {"AWS": [user]}}
            of_objects = [f"s3:{action}" for action in actions if action != "ListBucket"]
            statements.append(statement | {"Action": of_objects, "Resource": [f"{bucket}/{prefix}*"]})
            if "ListBucket" in actions:
                listing = {"Action": ["s3:ListBucket"], "Resource": [bucket]}
                condition = {"Condition": {"StringLike": {"s3:prefix": [f"{prefix}*"]}}}
                statements.append(statement | listing | condition)
    everybody = {"Effect": "Allow", "Principal": "*"}
    statements.append(everybody | {"Action": ["s3:GetObject"], "Resource": [f"{bucket}/public/*"]})
    return {"Version": "2012-10-17", "Statement": statements}


def set_up_bucket() -> None:
    """Make our server's bucket, its users with the keys in their Secrets, and its policy; again is harmless."""
    root = secret(S3, "s3-root")
    with forward(S3, "service/s3", 7070) as url:
        server = Server(url, root["rootAccessKeyId"], root["rootSecretAccessKey"])
        server("PUT", f"/{BUCKET}", accept=(409,))
        for user in USERS:
            key = secret(namespace_of(user), f"objects-{user}")["AWS_SECRET_ACCESS_KEY"]
            account = f"<Account><Access>{user}</Access><Secret>{escape(key)}</Secret><Role>user</Role></Account>"
            if server("PATCH", "/create-user", account, accept=(409,)) == 409:
                changed = f"<MutableProps><Secret>{escape(key)}</Secret></MutableProps>"
                server("PATCH", "/update-user", changed, query={"access": user})
        server("PUT", f"/{BUCKET}", json.dumps(policy()), query={"policy": ""})


class Server:
    """An S3 server, asked as one of its users, with requests that are signed as AWS describes it.

    Source: "Create a signed AWS API request" (Signature Version 4) in AWS's IAM guide.
    """

    def __init__(self, url: str, access: str, key: str) -> None:
        self.url, self._access, self._key = url, access, key

    def __call__(
        self, method: str, path: str, body: str = "", query: dict[str, str] | None = None, accept: tuple[int, ...] = ()
    ) -> int:
        """Send a request and return its status. Raises Failed for an error, but for those that are accepted."""
        words = urllib.parse.urlencode(sorted((query or {}).items()), quote_via=urllib.parse.quote)
        headers = self._signed(method, path, words, body.encode())
        address = f"{self.url}{path}{'?' if words else ''}{words}"
        request = urllib.request.Request(address, body.encode(), headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            if error.code in accept:
                return error.code
            said = one_line(error.read().decode(errors="replace"))
            raise Failed(f"The S3 server answered {method} {path} with {error.code}: {said}") from None
        except OSError as error:
            raise Failed(f"The S3 server does not answer ({error}): kubectl get pods -n {S3} shows it.") from None

    def _signed(self, method: str, path: str, query: str, body: bytes) -> dict[str, str]:
        now, digest = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}", hashlib.sha256(body).hexdigest()
        headers = {"host": urllib.parse.urlsplit(self.url).netloc, "x-amz-content-sha256": digest, "x-amz-date": now}
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        asked = "\n".join((method, urllib.parse.quote(path), query, lines, names, digest))
        scope = f"{now[:8]}/{REGION}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(asked.encode()).hexdigest()}"
        key = f"AWS4{self._key}".encode()
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        login = f"Credential={self._access}/{scope}, SignedHeaders={names}, Signature={signature}"
        return headers | {"Authorization": f"AWS4-HMAC-SHA256 {login}"}
