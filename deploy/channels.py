"""`make check-channels`: what notify_discord would send now, to which channel, without sending it."""

import argparse
from typing import Any

from deploy.pods import deployed_image, pod, run_to_its_end

POD = "check-channels"
SECONDS = 180  # pulling the image, waiting for PostgreSQL, and the check itself
SETTINGS = ("DISCORD_WEBHOOK_URL", "CHANNELS", "ANNOUNCE_HOURS", "REMINDERS", "SLIP_MINUTES", "PUBLIC_URL")


def check_channels(_arguments: argparse.Namespace) -> int:
    """Say what each channel would be sent now, by the settings in the cluster; return the step's exit code."""
    return run_to_its_end(check_pod(deployed_image("IMAGE_NOTIFY")), SECONDS)


def check_pod(image: str) -> dict[str, Any]:
    """Return the pod: that of the DAG's task, but for the label that would let it out to Discord."""
    container = {
        "args": ["--check"],
        "env": [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": "settings", "key": name, "optional": True}}}
            for name in SETTINGS
        ],
    }
    secrets: list[dict[str, object]] = [{"name": "database-notify"}, {"name": "objects-notify", "optional": True}]
    return pod(POD, image, container, secrets=secrets, labels={"objects": "notify"}, seconds=SECONDS)
