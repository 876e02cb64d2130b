"""Short questions to a server on this machine, past any proxy that the environment names."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx

MAX_BYTES = 16 * 1024 * 1024  # of one answer: status, headers, framing, trailers and body
_TOTAL_S = 30.0  # of one answer, whatever each read takes


def bounded_client(
    base_url: str = "",
    *,
    headers: Mapping[str, str] | None = None,
    verify: bool = True,
    timeout_s: float = 5.0,
    total_s: float | None = None,
    transport: httpx.BaseTransport | None = None,
) -> httpx.Client:
    """A client that raises httpx.TransportError for an answer beyond the limits. For one thread at a time.

    timeout_s: of connecting and of each read; total_s: of a whole answer, None: 30 s or timeout_s if that is longer.
    """
    limit_s = max(_TOTAL_S, timeout_s) if total_s is None else total_s
    return httpx.Client(
        base_url=base_url,
        headers={"Accept-Encoding": "identity", **(headers or {})},
        timeout=timeout_s,
        transport=transport or _BoundedTransport(_context(verify), limit_s),
        trust_env=False,
        follow_redirects=False,
    )


def _context(verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _Allowance:
    """What one answer may still take."""

    def __init__(self, total_s: float) -> None:
        self._total_s = total_s
        self.renew()

    def renew(self) -> None:
        self.left_bytes = MAX_BYTES
        self.until_s = time.monotonic() + self._total_s

    def patience_s(self, timeout_s: float | None) -> float:
        left_s = self.until_s - time.monotonic()
        if left_s <= 0:
            raise httpcore.ReadTimeout(f"no whole answer within {self._total_s:g} s")
        return left_s if timeout_s is None else min(timeout_s, left_s)

    def take(self, data: bytes) -> bytes:
        self.left_bytes -= len(data)
        if self.left_bytes < 0:
            raise httpcore.ReadError(f"the answer is bigger than {MAX_BYTES // 1024**2} MiB")
        return data


class _BoundedStream(httpcore.NetworkStream):
    """A socket that gives up when the allowance is spent: whatever comes, headers and interim answers too, counts."""

    def __init__(self, inner: httpcore.NetworkStream, allowance: _Allowance) -> None:
        self._inner, self._allowance = inner, allowance

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._allowance.take(self._inner.read(max_bytes, self._allowance.patience_s(timeout)))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._allowance.patience_s(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        patience_s = self._allowance.patience_s(timeout)
        return _BoundedStream(self._inner.start_tls(ssl_context, server_hostname, patience_s), self._allowance)

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)


class _BoundedBackend(httpcore.NetworkBackend):
    def __init__(self, allowance: _Allowance) -> None:
        self._inner, self._allowance = httpcore.SyncBackend(), allowance

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        patience_s = self._allowance.patience_s(timeout)
        stream = self._inner.connect_tcp(host, port, patience_s, local_address, socket_options)
        return _BoundedStream(stream, self._allowance)


class _Body(httpx.SyncByteStream):
    def __init__(self, body: Iterable[bytes]) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        with _told_as_httpx():
            yield from self._body

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()


class _BoundedTransport(httpx.BaseTransport):
    def __init__(self, context: ssl.SSLContext, total_s: float) -> None:
        self._allowance = _Allowance(total_s)
        self._pool = httpcore.ConnectionPool(
            ssl_context=context, network_backend=_BoundedBackend(self._allowance), keepalive_expiry=5.0
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._allowance.renew()
        url = request.url
        asked = httpcore.Request(
            method=request.method,
            url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.read(),
            extensions=request.extensions,
        )
        with _told_as_httpx():
            answer = self._pool.handle_request(asked)
        coding = next((value for name, value in answer.headers if name.lower() == b"content-encoding"), b"identity")
        if coding.strip().lower() != b"identity":
            answer.close()
            raise httpx.RemoteProtocolError(f"unasked content-encoding {coding[:40]!r}")
        assert isinstance(answer.stream, Iterable)
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer.stream), extensions=answer.extensions
        )

    def close(self) -> None:
        self._pool.close()


class _told_as_httpx:  # noqa: N801 - a context manager
    """httpcore's errors as httpx's of the same name."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, httpcore.TimeoutException | httpcore.NetworkError | httpcore.ProtocolError):
            found = getattr(httpx, type(error).__name__, httpx.ReadError)
            raise found(str(error)) from error


def ask_json(base_url: str, path: str, *, timeout_s: float = 5.0) -> dict[str, Any] | None:
    """The JSON object at GET `path`; None where there is none."""
    with closing(_connect(base_url, timeout_s)) as connection:
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            tree = json.loads(answer.read()) if answer.status == 200 else None
        except (OSError, http.client.HTTPException, ValueError):
            return None
    return tree if isinstance(tree, dict) else None


def post_json_lines(base_url: str, path: str, body: dict[str, Any], *, timeout_s: float) -> Iterator[dict[str, Any]]:
    """The JSON objects, one a line, that answer POST `path`, as they come; an HTTP error is one {"error": ...}.

    timeout_s: of silence. Raises OSError when the connection breaks.
    """
    with closing(_connect(base_url, timeout_s)) as connection:
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            for line in answer:
                if line.strip():
                    yield _object(line, answer.status)
        except http.client.HTTPException as error:
            raise OSError(f"{type(error).__name__}: {error}") from error


def _object(line: bytes, status: int) -> dict[str, Any]:
    try:
        tree = json.loads(line)
    except ValueError:
        tree = None
    if isinstance(tree, dict) and (status == 200 or "error" in tree):
        return tree
    return {"error": f"HTTP {status}: {line.decode(errors='replace').strip()[:200]}"}


def _connect(base_url: str, timeout_s: float) -> http.client.HTTPConnection:
    parts = urlsplit(base_url)
    return http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=timeout_s)
