"""A server that answers as no library would, and what it can say."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

# Gets the connection, after a whole request was read from it, and an event that is set at the end of the test.
Answer = Callable[[socket.socket, threading.Event], object]


@contextlib.contextmanager
def raw_server(answer: Answer, path: str) -> Iterator[str]:
    """Answer one connection after the other; yield the address."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):  # of accept, when it is over
                while True:
                    connection, _ = listening.accept()
                    with connection, contextlib.suppress(OSError):
                        read_request(connection)
                        answer(connection, over)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}{path}"
        finally:
            over.set()
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def read_request(connection: socket.socket) -> None:
    with connection.makefile("rb") as file:
        length = 0
        while (line := file.readline().lower()).strip():
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        file.read(length)


def says(answer: bytes, *, reset: bool = False) -> Answer:
    """Send these bytes and close the connection: as one should, or with a reset."""

    def send(connection: socket.socket, _over: threading.Event) -> None:
        connection.sendall(answer)
        if reset:
            time.sleep(0.1)  # a reset also throws away what has not been read
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return send


def drips(head: bytes, drop: bytes) -> Answer:
    """Send a little, again and again."""

    def send(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(head)
        while not over.wait(0.02):
            connection.sendall(drop)

    return send
