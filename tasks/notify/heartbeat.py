"""A sign of life at the end of every good run, for a service that raises the alarm when it stays away.

A failed run, a paused DAG, a dead scheduler and a dead node all look the same there: nothing came.
"""

import logging
import queue
import threading

import requests

from step import innermost

SECONDS = 10  # in all

log = logging.getLogger(__name__)


def send(url: str) -> None:
    """Request the address once. What goes wrong is a warning and no more: the run itself is good."""
    outcome: queue.SimpleQueue[str] = queue.SimpleQueue()
    # A thread can be left behind: requests' own timeout starts anew with every byte, and does not include DNS.
    threading.Thread(target=lambda: outcome.put(request(url)), daemon=True).start()
    try:
        wrong = outcome.get(timeout=SECONDS)
    except queue.Empty:
        wrong = f"no answer within {SECONDS} s"
    if wrong:
        log.warning("The heartbeat failed (%s): check HEARTBEAT_URL. The run itself is good.", wrong)


def request(url: str) -> str:
    """Return what went wrong, or nothing; never an error's own text, which has the address in it: that is a secret."""
    try:
        # A redirect counts as wrong, since the address should be the final one; the body is not read.
        with requests.get(url, timeout=SECONDS, allow_redirects=False, stream=True) as response:
            return "" if 200 <= response.status_code < 300 else f"HTTP {response.status_code}"
    except Exception as error:  # noqa: BLE001  # whatever it is, it must not fail the run
        return type(innermost(error)).__name__
