"""A server that answers every request with the same bytes, and then keeps, closes or resets the connection."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from itertools import takewhile


@contextlib.contextmanager
def raw_server(pieces: Sequence[bytes], then: str = "keep") -> Iterator[tuple[str, list[bytes]]]:
    """(base URL, the heads of what was asked). pieces: each sent by itself. then: keep, hold, close or reset.

    hold: nothing more comes on that connection, however long the client waits.
    """
    asked: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))
    open_sockets: list[socket.socket] = []

    def answer(sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock, sock.makefile("rb") as stream:
            while head := b"".join(takewhile(bytes.strip, stream)):
                length = next(
                    (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), b":0"
                )
                stream.read(int(length.partition(b":")[2]))
                asked.append(head)
                for piece in pieces:
                    sock.sendall(piece)
                if then == "hold":
                    stream.read()
                elif then != "keep":
                    if then == "reset":
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                open_sockets.append(sock)
                threading.Thread(target=answer, args=(sock,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    finally:
        for sock in (listener, *open_sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        listener.close()
