"""A peer that answers one request of the measuring client with raw bytes over a real socket, and the row that comes."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Sequence
from typing import Any

from benchsuite.client.connection import Connection, Link
from benchsuite.client.http import Endpoint, Exchange
from benchsuite.client.request import EncodedRequest, PointContext, record_steps
from benchsuite.clock import now_ns
from benchsuite.records import RequestRecord

REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunked(*pieces: bytes, head: bytes = STREAM) -> bytes:
    """A response in HTTP chunks, one a piece."""
    return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n\r\n"


def whole(body: Any, kind: str = "application/json", status: str = "200 OK") -> bytes:
    """A response with its length; body: bytes, or what becomes JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


def event(payload: Any) -> bytes:
    """One SSE event; payload: text as it is, or what becomes JSON."""
    return f"data: {payload if isinstance(payload, str) else json.dumps(payload)}\n\n".encode()


async def row_over_socket(
    *pieces: bytes, close: bool = False, streaming: bool = True, keep_text: bool = False, asked: int | None = None
) -> RequestRecord:
    """The row of a request that is answered with `pieces`, each read before the next is sent.

    close: the peer closes its connection behind them.
    """

    async def until_read(n: int) -> None:
        async with asyncio.timeout(60):
            while len(exchange.data) < n and not ended:
                await asyncio.sleep(0)

    ended: list[Exchange] = []
    exchange = Exchange(0, now_ns())
    exchange.on_done = ended.append
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        connection = Connection(Link(asyncio.get_running_loop(), Endpoint(socket.AF_INET, address, "127.0.0.1"), 5.0))
        await connection.open()
        with listener.accept()[0] as peer:
            connection.send(REQUEST, exchange)
            peer.recv(len(REQUEST), socket.MSG_WAITALL)
            sent = 0
            for piece in pieces:
                peer.sendall(piece)
                sent += len(piece)
                await until_read(sent)
            if close:
                peer.shutdown(socket.SHUT_WR)
            await until_read(1 << 62)
        connection.close()
    return row_of(exchange, streaming=streaming, keep_text=keep_text, asked=asked)


def row_of(exchange: Exchange, *, streaming: bool, keep_text: bool, asked: int | None) -> RequestRecord:
    """The row of an exchange that has ended."""
    context = PointContext("run", "c0001-r0", 1, 0, 0, exchange.scheduled_ns, streaming, keep_text)
    rows: Sequence[RequestRecord] = []
    for _ in record_steps(exchange, EncodedRequest(b"", "p", None, asked), context, rows):  # type: ignore[arg-type]
        pass
    (row,) = rows
    return row
