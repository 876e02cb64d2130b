"""Questions to a server outside the measured path: no answer is longer or takes longer than its limits.

Past any proxy that the environment names, and without following redirects.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Iterator, Mapping
from itertools import chain
from math import inf
from typing import Any

import httpcore
import httpx

from benchsuite.errors import read_json
from benchsuite.limits import most
from benchsuite.redact import masked, shortened

# what a content type may say of a text; its other charsets (zlib, idna, undefined, ... for Python) are read as UTF-8
_CHARSETS = frozenset((
    "utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1", "latin1", "iso-8859-15", "windows-1252", "cp1252",
    "gb2312", "gbk", "gb18030", "big5", "shift_jis", "euc-jp", "euc-kr",
))  # fmt: skip


def bounded_client(
    base_url: str = "",
    *,
    headers: Mapping[str, str] | None = None,
    query: str = "",
    verify: bool = True,
    timeout_s: float = 5.0,
    total_s: float | None = None,
    max_bytes: int = most("answer_bytes"),
    transport: httpx.BaseTransport | None = None,
) -> httpx.Client:
    """A client that raises httpx.TransportError for an answer beyond the limits. For one thread at a time.

    query: with its ?, of every request. timeout_s: of connecting and of each read; total_s: of a whole answer, None:
    30 s or timeout_s if that is longer. max_bytes: of a whole answer, headers and framing included.
    """
    # the certificates take 50 ms to load, and no redirect leads from http to https
    plain = base_url.lower().startswith("http:")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    limit_s = max(most("answer_s"), timeout_s) if total_s is None else total_s
    return httpx.Client(
        base_url=base_url,
        headers={"Accept-Encoding": "identity", **(headers or {})},
        params=query.removeprefix("?") or None,
        timeout=timeout_s,
        transport=transport or _BoundedTransport(context, limit_s, max_bytes),
        trust_env=False,
        follow_redirects=False,
        event_hooks={"response": [_choose_charset]},
    )


def _choose_charset(answer: httpx.Response) -> None:
    named = (answer.charset_encoding or "").lower()
    answer.encoding = named if named in _CHARSETS else "utf-8"


class _BoundedBackend(httpcore.SyncBackend):
    """Makes sockets that give up when what one answer may take is spent: headers and interim answers count too."""

    def __init__(self, total_s: float, max_bytes: int) -> None:
        self._total_s, self.max_bytes = total_s, max_bytes
        self.renew()

    def renew(self) -> None:
        self.left_bytes, self.until_s = self.max_bytes, time.monotonic() + self._total_s

    def patience_s(self, timeout_s: float | None) -> float:
        left_s = self.until_s - time.monotonic()
        if left_s <= 0:
            raise httpcore.ReadTimeout(f"no complete response within {self._total_s:g} s")
        return left_s if timeout_s is None else min(timeout_s, left_s)

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *rest: Any, **more: Any
    ) -> httpcore.NetworkStream:
        return _BoundedStream(super().connect_tcp(host, port, self.patience_s(timeout), *rest, **more), self)


class _BoundedStream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, backend: _BoundedBackend) -> None:
        self._inner, self._backend = inner, backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._inner.read(max_bytes, self._backend.patience_s(timeout))
        self._backend.left_bytes -= len(data)
        if self._backend.left_bytes < 0:
            raise httpcore.ReadError(f"the response is larger than {self._backend.max_bytes // 1024**2} MiB")
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._backend.patience_s(timeout))

    def close(self) -> None:
        self._inner.close()

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        patience_s = self._backend.patience_s(timeout)
        return _BoundedStream(self._inner.start_tls(ssl_context, server_hostname, patience_s), self._backend)


class _Masking(logging.Filter):
    """Takes the keys out of what the HTTP libraries log, where somebody listens."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = masked(record.getMessage()), ()
        return True


for _name in ("httpx", "httpcore.connection", "httpcore.http11", "openai._base_client", "asyncio"):
    logging.getLogger(_name).addFilter(_Masking())


class _BoundedTransport(httpx.HTTPTransport):
    def __init__(self, context: ssl.SSLContext, total_s: float, max_bytes: int) -> None:
        super().__init__(verify=context, trust_env=False)
        self._backend = _BoundedBackend(total_s, max_bytes)
        # httpx has no parameter for how sockets are made; tests/security holds that they are made here
        self._pool = httpcore.ConnectionPool(ssl_context=context, network_backend=self._backend, keepalive_expiry=5.0)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._backend.renew()
        answer = super().handle_request(request)
        coding = answer.headers.get("content-encoding", "identity")
        if coding.strip().lower() != "identity":
            answer.close()
            raise httpx.RemoteProtocolError(f"unrequested content-encoding {shortened(coding, 40)!r}")
        return answer


def is_up(client: httpx.Client, url: str) -> bool:
    """Whether GET `url` is answered with 200."""
    try:
        return client.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def ask_json(base_url: str, path: str) -> dict[str, Any] | None:
    """The JSON object at GET `path`; None where there is none."""
    try:
        with bounded_client(base_url) as client:
            answer = client.get(path)
        tree = read_json(answer.content) if answer.status_code == 200 else None
    except (httpx.HTTPError, ValueError):
        return None
    return tree if isinstance(tree, dict) else None


def post_json_lines(base_url: str, path: str, body: dict[str, Any], *, timeout_s: float) -> Iterator[dict[str, Any]]:
    """The JSON objects, one a line, that answer POST `path`, as they come; an HTTP error is one {"error": ...}.

    timeout_s: of silence. Raises OSError when the connection breaks.
    """
    try:
        with (
            bounded_client(base_url, timeout_s=timeout_s, total_s=inf) as client,
            client.stream("POST", path, json=body) as answer,
        ):
            rest = b""
            for chunk in chain(answer.iter_raw(), [b"\n"]):
                *lines, rest = (rest + chunk).split(b"\n")  # not iter_lines, which breaks a text at U+2028 too
                for line in filter(bytes.strip, lines):
                    try:
                        tree = read_json(line)
                    except ValueError:
                        tree = None
                    known = isinstance(tree, dict) and (answer.status_code == 200 or "error" in tree)
                    words = shortened(line.decode(errors="replace").strip(), 200)
                    yield tree if known else {"error": f"HTTP {answer.status_code}: {words}"}
                if len(rest) > (limit := most("json_line_bytes")):
                    raise OSError(f"a line longer than {limit} bytes")
    except httpx.HTTPError as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
