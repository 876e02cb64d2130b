"""A small asyncio HTTP/1.1 server in a thread, for fakes that speak a server's exact wire format. Loopback only."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from dataclasses import dataclass
from typing import Any

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
           404: "Not Found", 405: "Method Not Allowed", 415: "Unsupported Media Type",
           422: "Unprocessable Entity", 424: "Failed Dependency", 429: "Too Many Requests",
           500: "Internal Server Error", 503: "Service Unavailable"}  # fmt: skip


@dataclass(frozen=True)
class Request:
    """What was asked. json: the body, None if there is none or it does not parse."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Answer:
    """Writes one response: whole, or in chunks that each go out in one write."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def whole(self, status: int, body: bytes | str | dict, kind: str = "application/json", *more: str) -> None:
        if isinstance(body, dict):
            body = dumps(body)
        content = body.encode() if isinstance(body, str) else body
        self._head(status, (f"content-type: {kind}",) * bool(content) + (f"content-length: {len(content)}", *more))
        self._writer.write(content)
        await self._writer.drain()

    def start(self, kind: str, *more: str) -> None:
        self._head(200, (f"content-type: {kind}", "transfer-encoding: chunked", *more))

    async def chunk(self, data: str) -> None:
        content = data.encode()
        self._writer.write(b"%x\r\n%s\r\n" % (len(content), content))
        await self._writer.drain()

    async def end(self) -> None:
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    def _head(self, status: int, lines: tuple[str, ...]) -> None:
        head = (f"HTTP/1.1 {status} {REASONS[status]}", *lines, "date: Sat, 21 Nov 2026 09:00:00 GMT")
        self._writer.write(("\r\n".join(head) + "\r\n\r\n").encode())


def dumps(tree: Any) -> str:
    """Compact JSON, as axum and Go write it."""
    return json.dumps(tree, separators=(",", ":"), ensure_ascii=False)


class Fake:
    """Use as a context manager; subclasses write `handle`. asked: every request in the order of arrival."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task] = set()

    async def handle(self, request: Request, answer: Answer) -> None:
        raise NotImplementedError

    def __enter__(self) -> Any:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def bodies(self, path: str) -> list[Any]:
        """The JSON bodies that were posted to a path."""
        return [request.json for request in self.asked if request.path == path and request.method == "POST"]

    def _serve(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main(ready))
        self._loop.close()

    async def _main(self, ready: threading.Event) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=2**22)
        self.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await self._stop.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._tasks.add(task := asyncio.current_task())
        task.add_done_callback(self._tasks.discard)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                    method, path, _ = head[0].split(" ")
                    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                    body = await reader.readexactly(int(headers.get("content-length", 0)))
                    request = Request(method, path, headers, body)
                    self.asked.append(request)
                    await self.handle(request, Answer(writer))
        finally:
            writer.close()
