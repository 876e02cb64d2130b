"""Other HTTP clients in the wire client's place, for cross-checks: httpx, and the openai SDK.

They stamp in user space, when their library hands over the bytes (httpx) or the parsed chunk (openai), and so show what
measuring through such a library adds. Everything after the stamps is the same path: exchange, parser, row.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import httpx

from benchsuite.client.connection import Link
from benchsuite.client.http import Exchange, WireError
from benchsuite.clock import now_ns
from benchsuite.records import Status
from benchsuite.redact import shortened

_STOPPED = WireError("cancelled", "the run was stopped")


class TaskDriver:
    """A driver whose library wants a coroutine per request."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._abort: WireError | None = None
        self.free_ns = 0
        self.kept = False  # as of a Connection

    @property
    def is_open(self) -> bool:
        """Always: the library connects when it sends."""
        return True

    async def open(self) -> None:
        """Nothing to do."""

    def send(self, request: bytes, exchange: Exchange) -> None:
        """Send `request`, whose head the library makes anew."""
        self._exchange = exchange
        self._task = self._link.loop.create_task(self._run(request, exchange))
        self._task.add_done_callback(partial(self._end, exchange))

    async def _run(self, request: bytes, exchange: Exchange) -> None:
        head, _, body = request.partition(b"\r\n\r\n")
        path = head.split(b" ", 2)[1].decode()
        headers = dict(line.decode("latin-1").split(": ", 1) for line in head.split(b"\r\n")[1:])
        ours = {"Content-Length", "Connection"} | (
            {"Host"} if headers.get("Host") == self._link.endpoint.host_header else set()
        )
        headers = {name: value for name, value in headers.items() if name not in ours}
        exchange.sent_ns = now_ns()
        await self._stream(path, headers, body, exchange)

    def _end(self, exchange: Exchange, task: asyncio.Task[None]) -> None:
        # whatever the library raises is this request's failure, never the run's
        failure = (self._abort or _STOPPED) if task.cancelled() else task.exception()
        error = failure if failure is None or isinstance(failure, WireError) else _failure(failure)
        self._task = self._exchange = self._abort = None
        self.free_ns = now_ns()
        exchange.kernel_stamped = False
        exchange.error = error
        exchange.closed_ns = self.free_ns if error or not exchange.stamps else exchange.stamps[-1]
        if exchange.on_done is not None:
            exchange.on_done(exchange)

    async def _stream(self, path: str, headers: dict[str, str], body: bytes, exchange: Exchange) -> None:
        raise NotImplementedError

    def abort(self, status: Status, message: str) -> None:
        """End the exchange in flight as `status`."""
        if self._task is not None:
            self._abort = WireError(status, message)
            self._task.cancel()

    def overdue(self, at_ns: int, idle_ns: int, whole_ns: int) -> str | None:
        """Why the exchange in flight should be given up, or None."""
        return self._exchange.overdue(at_ns, idle_ns, whole_ns) if self._exchange else None

    def close(self) -> None:
        """Nothing to close: the client is shared or goes with the process."""


class HttpxDriver(TaskDriver):
    """httpx. shared: the one client of all users (its pool is then without limit); None: a client of its own."""

    def __init__(self, link: Link, shared: httpx.AsyncClient | None = None) -> None:
        super().__init__(link)
        self._own = shared is None
        self._client = shared or httpx_client(link)

    async def _stream(self, path: str, headers: dict[str, str], body: bytes, exchange: Exchange) -> None:
        async with self._client.stream("POST", _origin(self._link) + path, headers=headers, content=body) as response:
            exchange.headers_ns = now_ns()
            exchange.status = response.status_code
            for name, value in response.headers.raw:
                exchange.note_header(name.lower(), value)
            async for piece in response.aiter_raw():
                exchange.note_body(piece, now_ns())
                if len(exchange.body) > (limit := self._link.endpoint.limits.response_bytes):
                    raise WireError("stream_error", f"response longer than {limit} bytes")

    def close(self) -> None:
        if self._own:
            self._link.loop.create_task(self._client.aclose())


def _origin(link: Link) -> str:
    return f"{'https' if link.endpoint.tls else 'http'}://{link.endpoint.host_header}"


def httpx_client(link: Link) -> httpx.AsyncClient:
    """An httpx client without pool limits (the default of 100 would silently cap the concurrency) or timeouts.

    Straight to the server: no proxy of the environment, no redirect.
    """
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    verify: Any = link.tls or True
    return httpx.AsyncClient(limits=limits, timeout=None, verify=verify, trust_env=False)


class OpenAIDriver(TaskDriver):
    """The openai SDK's stream of parsed chunks; streaming chat and completions only."""

    def __init__(self, link: Link, client: Any) -> None:
        super().__init__(link)
        self._client = client

    async def _stream(self, path: str, headers: dict[str, str], body: bytes, exchange: Exchange) -> None:
        from openai import Omit

        del path, headers  # the SDK makes its own
        # in its spelling, so that they take the place of its own; it would send a key where there is none
        given: Any = {"Authorization": Omit()} | {name.title(): value for name, value in self._link.endpoint.headers}
        fields = json.loads(body)
        create = (self._client.chat if "messages" in fields else self._client).completions.create
        known = {key: fields.pop(key) for key in ("model", "messages", "prompt", "stream") if key in fields}
        chunks: list[tuple[Any, int]] = []
        try:
            answer: AsyncIterator[Any] = await create(**known, extra_body=fields, extra_headers=given)
            exchange.status, exchange.headers_ns = 200, now_ns()
            async for chunk in answer:
                chunks.append((chunk, now_ns()))  # noqa: PERF401 - what came before a failure must be kept
        finally:
            # back to bytes for the common parser, after the last stamp
            for chunk, stamp_ns in chunks:
                exchange.note_body(b"data: " + chunk.model_dump_json(exclude_unset=True).encode() + b"\n\n", stamp_ns)


def openai_client(link: Link) -> Any:
    """An AsyncOpenAI client without retries, proxies or redirects: each would hide what the server does."""
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    verify: Any = link.tls or True
    client = DefaultAsyncHttpxClient(verify=verify, timeout=None, trust_env=False, follow_redirects=False)
    return AsyncOpenAI(
        base_url=_origin(link) + link.endpoint.path.removesuffix("/completions").removesuffix("/chat"),
        api_key="none",
        default_query=dict(parse_qsl(link.endpoint.query[1:], keep_blank_values=True)),
        max_retries=0,
        timeout=None,
        http_client=client,
    )


def _failure(error: BaseException) -> WireError:
    status = getattr(error, "status_code", None)
    message = shortened(f"{type(error).__name__}: {error}", 300)
    if status is not None:
        return WireError("http_error", message)
    if isinstance(error, httpx.ConnectError) or "Connection" in type(error).__name__:
        return WireError("connect_error", message)
    return WireError("stream_error", message)
