"""Servers that mean harm, each a few lines over a raw socket. Loopback only."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
Handler = Callable[[socket.socket, bytes], None]


@contextlib.contextmanager
def serving(handle: Handler) -> Iterator[str]:
    """The base URL of a server that gives every request (its head) to `handle`, each connection on a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    stopping = threading.Event()

    def connection(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError, ValueError):
            data = b""
            while not stopping.is_set():
                piece = sock.recv(65536)
                if not piece:
                    return
                data += piece
                while b"\r\n\r\n" in data:
                    head, _, data = data.partition(b"\r\n\r\n")
                    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if b"ength:" in line), 0)
                    while len(data) < length:
                        data += sock.recv(65536)
                    body, data = data[:length], data[length:]
                    handle(sock, head + b"\r\n\r\n" + body)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=connection, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stopping.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def whole(body: bytes | dict, status: bytes = b"200 OK", more: bytes = b"", kind: bytes = b"application/json") -> bytes:
    """A response with a length."""
    content = json.dumps(body).encode() if isinstance(body, dict) else body
    head = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n" % (status, kind, len(content), more)
    return head + content


def forever(sock: socket.socket, piece: bytes, begin: bytes = b"", most_bytes: int = 200 * 2**20) -> None:
    """Send `piece` again and again: until the other side hangs up, or 200 MiB are sent."""
    sock.sendall(begin)
    piece *= max(1, 65536 // len(piece))
    for _ in range(most_bytes // len(piece)):
        sock.sendall(piece)
    sock.close()


def rss_bytes() -> int:
    """What this process holds in memory."""
    with open("/proc/self/statm") as statm:  # noqa: PTH123 - a path would allocate more than it reads
        return int(statm.read().split()[1]) * 4096
