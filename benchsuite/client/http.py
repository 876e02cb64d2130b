"""Where a request goes, and the stamped bytes of its response: HTTP/1.1 framing with as little work as possible. Pure.

While a response streams in, only its end is looked for; the HTTP parser proper goes over the bytes after the end.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httptools

_MAX_HEADER_BYTES = 65536

# Response headers that say something of the server: its own times and counts (TGI), and a paid API's limits.
_KEPT_HEADERS = {b"x-queue-time", b"x-prompt-tokens", b"x-generated-tokens"}
_KEPT_HEADERS |= {b"x-ratelimit-limit-requests", b"x-ratelimit-limit-tokens"}
_NOTED_HEADERS = _KEPT_HEADERS | {b"content-type"}
_NO_HEADERS: dict[str, str] = {}

# What a response's framing still needs before it is complete.
_HEADERS, _CHUNKED, _COUNTED, _UNTIL_CLOSE, _ENDED = range(5)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go: a resolved address and what a request's head says of it. Plain data that crosses processes."""

    family: int
    address: tuple[Any, ...]
    host: str
    host_header: str = ""
    path: str = ""
    base_url: str = ""
    tls: bool = False
    insecure: bool = False  # the TLS certificate is not checked
    query: str = field(default="", repr=False)  # with its ?
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # in the place of ours, or more
    secrets: tuple[str, ...] = field(default=(), repr=False)  # in these, to be taken out of what the server says
    kernel_stamps: bool = True
    max_response_bytes: int = 64 * 1024 * 1024
    max_held_bytes: int = 1024 * 1024 * 1024  # of all responses in flight together


class WireError(Exception):
    """A request failed on the wire. status and message go into its row; stale: worth one more try, see `Connection`."""

    def __init__(self, status: str, message: str, *, stale: bool = False) -> None:
        super().__init__(message)
        self.status, self.message, self.stale = status, message, stale


class Exchange:
    """One request on the wire and the stamped bytes of its response: headers and chunk framing included."""

    __slots__ = (
        "body_bytes", "body_ends", "body_parts", "chunked", "closed_ns", "content_encoding", "content_length",
        "content_type", "data", "ends", "error", "headers_ns", "index", "keep_alive", "kept_headers", "kernel_stamped",
        "message_complete", "mode", "on_done", "parser", "retries", "reused", "scheduled_ns", "sent_ns",
        "stamps", "status", "token_seen", "user_stamps",
    )  # fmt: skip

    def __init__(self, index: int, scheduled_ns: int) -> None:
        self.index = index
        self.scheduled_ns = scheduled_ns
        self.sent_ns = 0
        self.retries = 0
        self.reused = False
        self.error: WireError | None = None
        self.closed_ns = 0
        self.on_done: Callable[[Exchange], None] | None = None
        self.reset()

    def reset_for_retry(self) -> None:
        self.retries += 1
        self.error = None
        self.closed_ns = 0
        self.reset()

    def reset(self) -> None:
        self.stamps = array("q")  # (n_reads,) monotonic ns by the kernel
        self.user_stamps = array("q")  # by us; the same where the kernel gives none
        self.ends = array("q")  # (n_reads,) offset in `data` after each read
        self.data = bytearray()
        self.mode = _HEADERS
        self.kernel_stamped = True
        self.status = 0
        self.headers_ns = 0
        self.chunked = False
        self.keep_alive = True
        self.content_length: int | None = None
        self.content_encoding: str | None = None
        self.content_type = b""
        self.kept_headers: dict[str, str] = _NO_HEADERS
        self.message_complete = False
        self.token_seen = False  # by `virtual_users.abort_if_overdue`
        self.body_parts: list[bytes] = []
        self.body_bytes = 0
        self.body_ends = array("q")
        self.parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    # httptools' callbacks
    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"transfer-encoding":
            self.chunked = value.lower().rsplit(b",", 1)[-1].strip() == b"chunked"
        elif name == b"content-length":
            self.content_length = int(value)
        elif name == b"content-encoding" and value.strip().lower() != b"identity":
            self.content_encoding = value.decode("latin-1")
        elif name in _NOTED_HEADERS:
            self.note_header(name, value)

    def note_header(self, name: bytes, value: bytes) -> None:
        """Take a header, by its name in lower case, that is about the body and not its framing."""
        if name == b"content-type":
            self.content_type = value
        elif name in _KEPT_HEADERS:
            self.kept_headers = self.kept_headers | {name.decode(): value.decode("latin-1").strip()}

    def on_headers_complete(self) -> None:
        assert self.parser is not None
        self.status = self.parser.get_status_code()
        self.keep_alive = self.parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self.body_parts.append(body)
        self.body_bytes += len(body)

    def on_message_complete(self) -> None:
        if self.status >= 200:
            self.message_complete = True

    def feed(self) -> None:
        """Give the HTTP parser the reads that it has not seen, one by one; `body_ends` then has one entry a read.

        Raises WireError on bytes that are no HTTP.
        """
        assert self.parser is not None
        first = len(self.body_ends)
        start = self.ends[first - 1] if first else 0
        try:
            with memoryview(self.data) as view:
                for end in self.ends[first:]:
                    self.parser.feed_data(view[start:end])
                    self.body_ends.append(self.body_bytes)
                    start = end
        except httptools.HttpParserUpgrade:  # which is no HttpParserError
            raise WireError("stream_error", "the server switches to a protocol that nobody asked for") from None
        except httptools.HttpParserError as error:
            raise WireError("stream_error", f"not an HTTP/1.1 response: {error}") from None
        except ValueError as error:
            raise WireError("stream_error", f"malformed response header: {error}") from None

    def note_body(self, piece: bytes, stamp_ns: int) -> None:
        """Take body bytes from a client that does its own HTTP (drivers.py), stamped in user space."""
        self.stamps.append(stamp_ns)
        self.user_stamps.append(stamp_ns)
        self.ends.append(0)
        self.on_body(piece)
        self.body_ends.append(self.body_bytes)

    def overdue(self, at_ns: int, idle_ns: int, whole_ns: int) -> str | None:
        """Why this exchange should be given up, or None."""
        if not self.sent_ns:  # not yet on its way
            return None
        if at_ns - self.sent_ns > whole_ns:
            return f"not finished within {whole_ns / 1e9:g} s"
        last_ns = self.user_stamps[-1] if self.user_stamps else self.sent_ns
        return f"no byte for {idle_ns / 1e9:g} s" if at_ns - last_ns > idle_ns else None

    def release(self) -> None:
        """Drop the parser, which refers back to this exchange, so that memory goes without the garbage collector."""
        self.parser = None
        self.on_done = None

    def find_end(self) -> bool:
        """True once the response is complete. Called after each read; cheap while chunks stream in."""
        data = self.data
        mode = self.mode
        if mode == _CHUNKED:
            # Only a chunked body whose tail is CR LF CR LF can be at its end. "\r\n0\r\n\r\n" is the plain last
            # chunk and is believed (request.py parses all of it afterwards); any other such tail (trailers, an SSE
            # stream with CRLF line ends) is put to the real parser.
            if not data.endswith(b"\r\n\r\n"):
                return False
            if data.endswith(b"\r\n0\r\n\r\n"):
                self.mode = _ENDED
                return True
            self.feed()
            return self.message_complete
        if mode == _HEADERS:
            self.feed()
            if self.status == 0 or 100 <= self.status < 200:
                if len(data) > _MAX_HEADER_BYTES:
                    raise WireError("stream_error", f"response headers longer than {_MAX_HEADER_BYTES} bytes")
                return False
            self.headers_ns = self.stamps[-1]
            if self.content_encoding:
                raise WireError("stream_error", f"unasked content-encoding {self.content_encoding!r}")
            if self.message_complete:
                return True
            if self.chunked:
                self.mode = _CHUNKED
            elif self.content_length is not None:
                self.mode = _COUNTED
            else:
                self.mode = _UNTIL_CLOSE
            return False
        if mode == _COUNTED:
            self.feed()
            return self.message_complete
        return False

    @property
    def ndjson(self) -> bool:
        """True if the body calls itself newline-delimited JSON."""
        return b"ndjson" in self.content_type.lower()

    @property
    def by_close(self) -> bool:
        """True if the end of the connection is a legal end of this response."""
        return self.mode == _UNTIL_CLOSE
