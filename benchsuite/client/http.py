"""Where a request goes, and the stamped bytes of its response: HTTP/1.1 framing with as little work as possible. Pure.

While a response streams in, only its end is looked for; the HTTP parser proper goes over the bytes after the end. What
that parser refuses and curl or httpx read is read by `LooseParser`, and noted.
"""

from __future__ import annotations

import contextlib
import re
import zlib
from array import array
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import httptools

from benchsuite.limits import RESPONSE_LIMITS, ResponseLimits, most
from benchsuite.records import Status
from benchsuite.redact import shortened

_MAX_LINE_BYTES, _KEPT_CHARS = most("line_bytes"), most("kept_chars")
_DECODED_STEP_BYTES = 1024 * 1024
HELD_BYTES_PER_READ = 32  # its stamps and offsets
_LOOSE_BYTES, _LOOSE_READS = 192 * 1024, 8192  # what `LooseParser` reads once more, behind the headers
_FEED_BYTES = 64 * 1024  # the HTTP parser is never further behind: its calls hold the loop
_GZIP = b"\x1f\x8b"

# Response headers that say something of the server: its own times and counts (TGI), and a paid API's limits.
_KEPT_HEADERS = {b"x-queue-time", b"x-prompt-tokens", b"x-generated-tokens"}
_KEPT_HEADERS |= {b"x-ratelimit-limit-requests", b"x-ratelimit-limit-tokens"}
_NOTED_HEADERS = _KEPT_HEADERS | {b"content-type", b"content-encoding", b"location"}
_NO_HEADERS: dict[str, str] = {}
# what else stands in content-encoding (identity, none, utf-8) changes no byte
_DECODED = ("gzip", "x-gzip", "deflate")
_CODINGS = frozenset((*_DECODED, "br", "zstd", "compress", "x-compress", "dcb", "dcz", "bzip2", "lz4", "snappy"))

# What a response's framing still needs before it is complete.
_HEADERS, _CHUNKED, _COUNTED, _UNTIL_CLOSE, _ENDED = range(5)
# what `Exchange.find_end` finds: the stream's own end mark may come before the end of its response
OPEN, COMPLETE, MARKED = range(3)
# the tail of nearly every read, which is no end: one whole event of SSE or NDJSON, in a chunk of its own or in none
_CHUNKED_EVENTS = (b"}\n\n\r\n", b"}\r\n\r\n\r\n", b'"done":false}\n\r\n')
_PLAIN_EVENTS = (b"}\n\n", b"}\r\n\r\n", b'"done":false}\n')
# with blank lines and comments behind it
_END_MARK = re.compile(rb"(^|[\r\n])data:[ \t]*[\"']?(\[DONE\]|DONE)[\"']?[ \t]*([\r\n]|(?<=[\r\n]):[^\r\n]*)*$", re.I)
_NATIVE_END = re.compile(rb'"done"\s*:\s*true\b')  # in the last line
_REASONS = re.compile(rb'"finish_reason"\s*:\s*("|null)')
_MARK_BYTES, _END_BYTES, _NATIVE_END_BYTES = 48, 4096, 65536


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
    limits: ResponseLimits = RESPONSE_LIMITS


class WireError(Exception):
    """A request failed on the wire. status and message go into its row; stale: worth one more try, see `Connection`."""

    def __init__(self, status: Status, message: str, *, stale: bool = False) -> None:
        super().__init__(message)
        self.status, self.message, self.stale = status, message, stale


class Exchange:
    """One request on the wire and the stamped bytes of its response: headers and chunk framing included."""

    __slots__ = (
        "body", "body_ends", "chunked", "chunks", "closed_ns", "content_encoding", "content_length", "content_type",
        "data", "due_bytes", "ends", "error", "headers_ns", "index", "interim", "keep_alive", "kept_headers",
        "kernel_stamped", "last_ns", "limits", "location", "marked_ns", "message_complete", "mode", "notes", "on_done",
        "parser", "retries", "reused", "scheduled_ns", "sent_ns", "stamps", "status", "token_seen", "unbodied",
        "user_stamps",
    )  # fmt: skip

    def __init__(self, index: int, scheduled_ns: int) -> None:
        self.index = index
        self.scheduled_ns = scheduled_ns
        self.sent_ns = 0
        self.retries = 0
        self.reused = False
        self.limits = RESPONSE_LIMITS
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
        self.due_bytes = min(_FEED_BYTES, self.limits.response_bytes)  # of data, at which `grown` is called
        self.mode = _HEADERS
        self.kernel_stamped = True
        self.last_ns = 0  # the last stamp, first that of the sending: no later one may be before it
        self.headers_ns = 0
        self.marked_ns = 0  # the stamp of the stream's end mark, where the response goes on behind it
        self.token_seen = False  # by `virtual_users.abort_if_overdue`
        self.notes: set[str] = set()  # codes of warnings: what was odd about the response's HTTP
        self._parse_with(httptools.HttpResponseParser(self))

    def _parse_with(self, parser: httptools.HttpResponseParser | LooseParser) -> None:
        self.status = 0
        self.chunked = False
        self.keep_alive = True
        self.content_length: int | None = None
        self.content_encoding = ""
        self.content_type = b""
        self.location = ""
        self.kept_headers: dict[str, str] = _NO_HEADERS
        self.message_complete = False
        self.interim = 0  # responses of status 1xx before it
        self.chunks: ChunkSizes | None = None
        self.body = bytearray()
        self.unbodied = 0  # bytes of framing since the last one of the body
        self.body_ends = array("q")
        self.parser: httptools.HttpResponseParser | LooseParser | None = parser

    # httptools' callbacks
    def on_message_begin(self) -> None:
        if self.message_complete:
            raise ValueError("a response without a request")

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"transfer-encoding":
            self.chunked = value.lower().rsplit(b",", 1)[-1].strip() == b"chunked"
        elif name == b"content-length":
            self.content_length = int(value)
        elif name in _NOTED_HEADERS:
            self.note_header(name, value)

    def note_header(self, name: bytes, value: bytes) -> None:
        """Take a header, by its name in lower case, that is about the body and not its framing."""
        if name == b"content-type":
            self.content_type = value
        elif name == b"content-encoding":
            words = (word.strip() for word in value.decode("latin-1").lower().split(","))
            self.content_encoding = ", ".join(word for word in words if word in _CODINGS)
        elif name == b"location":
            self.location = value.decode("latin-1").strip()
        elif name in _KEPT_HEADERS:
            self.kept_headers = self.kept_headers | {name.decode(): value.decode("latin-1").strip()[:_KEPT_CHARS]}

    def on_headers_complete(self) -> None:
        assert self.parser is not None
        self.status = self.parser.get_status_code()
        self.keep_alive = self.parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if self.status >= 200:
            self.message_complete = True
        else:
            self.interim += 1

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
                    if not self.message_complete:
                        before = len(self.body)
                        self.parser.feed_data(view[start:end])
                        self.unbodied = 0 if len(self.body) > before else self.unbodied + end - start
                        if self.unbodied > (limit := _MAX_LINE_BYTES if self.headers_ns else self.limits.header_bytes):
                            self.body_ends.append(before)
                            what = "chunk sizes or trailers" if self.headers_ns else "response headers"
                            raise WireError("stream_error", f"{what} longer than {limit} bytes")
                    elif start < end:
                        raise ValueError("bytes after the response")
                    self.body_ends.append(len(self.body))
                    start = end
        except httptools.HttpParserUpgrade:  # which is no HttpParserError
            raise WireError("stream_error", "the server switched protocols without a request to do so") from None
        except (httptools.HttpParserError, ValueError) as error:
            if self.message_complete:
                self.notes.add("bytes_after_response")
                self.keep_alive = False
                self.body_ends.extend([len(self.body)] * (len(self.ends) - len(self.body_ends)))
            elif isinstance(self.parser, LooseParser) or (
                self.headers_ns and (len(self.data) > _LOOSE_BYTES or len(self.ends) > _LOOSE_READS)
            ):
                raise WireError("stream_error", f"not an HTTP/1.1 response: {error}") from None
            else:
                headers = self.data[: self.ends[-2]] if not self.headers_ns and len(self.ends) > 1 else b""
                self._parse_with(LooseParser(self, error, headers))
                if headers:  # in one piece: none of these reads has a byte of the body
                    self.body_ends = array("q", bytes(8 * (len(self.ends) - 1)))
                self.mode = _COUNTED if self.mode == _CHUNKED else self.mode
                self.feed()

    def grown(self) -> None:
        """Called when the response has more than `due_bytes`. Raises WireError for one that is too long."""
        if len(self.data) > (limit := self.limits.response_bytes):
            raise WireError("stream_error", f"response longer than {limit} bytes")
        self.feed()
        if self.chunked:  # these too are never far behind
            self._sizes()
        self.due_bytes = min(len(self.data) + _FEED_BYTES, limit)

    def body_steps(self) -> Generator[None, None, tuple[bytearray, Sequence[int]]]:
        """The body, and how much of it each read brought; a compressed one decoded, yielding now and then.

        A body that cannot be decoded gives what was before the fault, and `error`.
        """
        data, decoded, ends = self.body, bytearray(), array("q")
        if not self.content_encoding and not data.startswith(_GZIP):  # that may be unsaid, or a transfer coding
            return data, self.body_ends
        self.notes.add("body_compressed")
        raw_deflate = self.content_encoding == "deflate" and (len(data) < 2 or int.from_bytes(data[:2]) % 31 != 0)
        decoder = zlib.decompressobj(-zlib.MAX_WBITS if raw_deflate else zlib.MAX_WBITS | 32)
        start, limit = 0, self.limits.response_bytes
        try:
            for end in self.body_ends:
                piece = bytes(data[start:end])
                while piece:
                    if decoder.eof:  # a member of its own for each event
                        if not piece.startswith(_GZIP):
                            break
                        decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
                    decoded += decoder.decompress(piece, _DECODED_STEP_BYTES)
                    piece = decoder.unconsumed_tail or decoder.unused_data
                    if len(decoded) > limit:
                        raise WireError("stream_error", f"decoded response longer than {limit} bytes")
                    yield
                ends.append(len(decoded))
                start = end
        except zlib.error as error:
            self.error = self.error or WireError("stream_error", f"the body is not {self.content_encoding}: {error}")
        except WireError as error:
            self.error = error
        ends.extend([len(decoded)] * (len(self.body_ends) - len(ends)))
        return decoded, ends

    def between_chunks(self) -> bool:
        """True unless the response has broken off within a chunk: by its size the chunk lacks bytes."""
        return not (self.chunked and (self.parser if isinstance(self.parser, LooseParser) else self._sizes()).within)

    def _sizes(self) -> ChunkSizes:
        self.chunks = self.chunks or ChunkSizes()
        self.chunks.read(self.data)
        return self.chunks

    def use_user_stamps(self) -> None:
        """Put our own stamps in the place of the kernel's, which do not hold."""
        of_user = dict(zip(self.stamps, self.user_stamps, strict=True))
        times = (of_user.get(at_ns, at_ns) for at_ns in (self.headers_ns, self.marked_ns, self.closed_ns))
        self.headers_ns, self.marked_ns, self.closed_ns = times
        self.stamps, self.kernel_stamped = self.user_stamps, False

    def note_body(self, piece: bytes, stamp_ns: int) -> None:
        """Take body bytes from a client that does its own HTTP (drivers.py), stamped in user space."""
        self.stamps.append(stamp_ns)
        self.user_stamps.append(stamp_ns)
        self.ends.append(0)
        self.on_body(piece)
        self.body_ends.append(len(self.body))

    def overdue(self, at_ns: int, idle_ns: int, whole_ns: int) -> str | None:
        """Why this exchange should be given up, or None."""
        if not self.sent_ns:  # not yet on its way
            return None
        if at_ns - self.sent_ns > whole_ns:
            return f"not finished within {whole_ns / 1e9:g} s"
        last_ns = self.user_stamps[-1] if self.user_stamps else self.sent_ns
        return f"no byte for {idle_ns / 1e9:g} s" if at_ns - last_ns > idle_ns else None

    @property
    def held_bytes(self) -> int:
        """What the response takes until it is a row."""
        return len(self.data) + HELD_BYTES_PER_READ * len(self.ends)

    def has_finished(self) -> bool:
        """True if the last events of a stream, whose end mark never came, hold a finish_reason."""
        of_stream = b"event-stream" in self.content_type.lower() and 200 <= self.status < 300
        return of_stream and _REASONS.findall(self.data[-_END_BYTES:])[-1:] == [b'"']

    def release(self) -> None:
        """Drop the parser, which refers back to this exchange, so that memory goes without the garbage collector."""
        self.parser = self.chunks = None
        self.on_done = None

    def find_end(self) -> int:
        """OPEN, COMPLETE, or MARKED: the stream is complete, its response is not. Called after each read; cheap while
        chunks stream in.
        """
        data = self.data
        mode = self.mode
        if mode == _CHUNKED:
            if data.endswith(_CHUNKED_EVENTS):
                return OPEN
            # what looks like the plain last chunk is held against the sizes of those before it (request.py parses all
            # of it afterwards); any other tail that may be an end is put to the real parser.
            if data.endswith(b"\r\n0\r\n\r\n"):
                (sizes := ChunkSizes(ends_alone=True)).read(data)
                if len(sizes.ended) > self.interim:
                    self.mode = _ENDED
                    return COMPLETE
            before = max(0, self.ends[-2] - 6)
            trailer = data.find(b"\r\n0\r\n", before) >= 0
            if trailer or data.endswith(b"\r\n\r\n"):
                self.feed()
                if trailer:  # which may come in small pieces: all of them at its end would take long
                    self.mode = _COUNTED
            return COMPLETE if self.message_complete else self._find_mark()
        if mode == _HEADERS:
            self.feed()
            if self.status == 0 or 100 <= self.status < 200:
                return OPEN
            self.headers_ns, self.unbodied = self.stamps[-1], 0
            if self.content_encoding and self.content_encoding not in _DECODED:
                coding = shortened(self.content_encoding, 40)
                raise WireError("stream_error", f"content-encoding {coding!r}, though identity was requested")
            if self.message_complete:
                self.mode = _ENDED
            elif self.chunked and not isinstance(self.parser, LooseParser):
                self.mode = _CHUNKED
            elif self.chunked or self.content_length is not None:
                self.mode = _COUNTED
            else:
                self.mode = _UNTIL_CLOSE
            return COMPLETE if self.message_complete else self._find_mark()
        if mode == _COUNTED:
            self.feed()
            if self.message_complete:
                return COMPLETE
        return OPEN if data.endswith(_PLAIN_EVENTS) else self._find_mark()

    def _find_mark(self) -> int:
        data, start = self.data, self.ends[-2] if len(self.ends) > 1 else 0  # of the last read
        torn = max(0, start - _MARK_BYTES)
        if (
            self.marked_ns
            or data.find(b"DONE", torn) >= 0
            or data.find(b"[done]", torn) >= 0
            or (self.ndjson and data.find(b'"done"', start) >= 0)
        ):
            self.feed()
            if self.message_complete:
                return COMPLETE
            if not self.marked_ns:
                if self.ndjson:
                    line = self.body[-_NATIVE_END_BYTES:].rstrip().rpartition(b"\n")[2]
                    marked = line.endswith(b"}") and _NATIVE_END.search(line)
                else:
                    marked = _END_MARK.search(self.body[-_END_BYTES:])
                self.marked_ns = self.stamps[-1] if marked and self.between_chunks() else 0
        return MARKED if self.marked_ns else OPEN

    @property
    def ndjson(self) -> bool:
        """True if the body calls itself newline-delimited JSON."""
        return b"ndjson" in self.content_type.lower()

    @property
    def by_close(self) -> bool:
        """True if the end of the connection is a legal end of this response."""
        return self.mode == _UNTIL_CLOSE


class ChunkSizes:
    """How far a response is by the sizes of its chunks, without a line of Python for any of them.

    within: not empty inside a chunk; not told where ends alone are asked for. ended: one for each response that has.
    """

    def __init__(self, *, ends_alone: bool = False) -> None:
        within, ended = self.within, self.ended = list[None](), list[None]()
        told = SimpleNamespace(on_message_complete=partial(ended.append, None))
        if not ends_alone:
            told.on_chunk_header, told.on_chunk_complete = partial(within.append, None), within.clear
        self._parser, self._read_bytes = httptools.HttpResponseParser(told), 0

    def read(self, data: bytearray) -> None:
        """Go on to the end of `data`, all that was received. Bytes that are no HTTP end nothing."""
        with memoryview(data) as view, contextlib.suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._parser.feed_data(view[self._read_bytes :])
        self._read_bytes = len(data)


_HEAD_END = re.compile(rb"\n\r?\n")
_FOLD = re.compile(rb"\n[ \t]+")
_STATUS_LINE = re.compile(rb"HTTP/1\.(\d)[ \t]+(\d{3})(?!\d)", re.I)
_CHUNK_SIZE = re.compile(rb"\s*([0-9a-f]{1,15})\s*(;|$)", re.I)


class LooseParser:
    """Reads HTTP by anybody's spelling, with the callbacks of httptools: line ends without CR, folded and odd header
    lines, a Content-Length twice or beside chunks (which hold, RFC 9112 6.3), blanks around chunk sizes.

    refused: what the strict parser said; raised again where this one cannot read on either. begin: what it has had.
    """

    def __init__(self, exchange: Exchange, refused: Exception, begin: bytes | bytearray = b"") -> None:
        self._exchange, self._refused = exchange, refused
        self._rest, self._begun = bytearray(begin), len(begin)
        self._step: Callable[[], bool] = self._head
        self._status, self._left, self._keep_alive = 0, 0, False

    def get_status_code(self) -> int:
        return self._status

    def should_keep_alive(self) -> bool:
        return self._keep_alive

    def feed_data(self, data: memoryview) -> None:
        """Take further bytes. Raises what the strict parser raised on bytes that are no HTTP."""
        self._rest += data
        self._new, self._begun = len(data) + self._begun, 0
        while self._step():
            pass

    @property
    def within(self) -> bool:
        return self._step == self._counted

    def _take(self, n: int) -> bytes:
        taken = bytes(self._rest[:n])
        del self._rest[:n]
        return taken

    def _head(self) -> bool:
        while bytes(self._rest[:1]) in (b"\r", b"\n"):
            del self._rest[:1]
        if not b"HTTP/".startswith(bytes(self._rest[:5]).upper()):
            raise self._refused
        end = _HEAD_END.search(self._rest, max(0, len(self._rest) - self._new - 3))
        if end is None:
            return False
        status_line, _, rest = self._take(end.end()).replace(b"\r\n", b"\n").partition(b"\n")
        first = _STATUS_LINE.match(status_line)
        if first is None:
            raise self._refused
        self._status, self._new = int(first[2]), len(self._rest)
        if self._status < 200:
            return True
        headers: list[tuple[bytes, bytes]] = []
        for line in _FOLD.sub(b" ", rest).split(b"\n"):
            name, colon, value = line.partition(b":")
            if colon and name.strip():
                headers.append((name.strip().lower(), value.strip()))

        def of(wanted: bytes) -> list[bytes]:
            return [word.strip() for name, value in headers if name == wanted for word in value.lower().split(b",")]

        chunked = of(b"transfer-encoding")[-1:] == [b"chunked"]
        lengths, connection = of(b"content-length"), of(b"connection")
        exchange = self._exchange
        exchange.notes.add("length_and_chunked" if chunked and lengths else "loose_http")
        for name, value in headers:
            if name not in (b"transfer-encoding", b"content-length"):
                exchange.on_header(name, value)
        if chunked:
            exchange.on_header(b"transfer-encoding", b"chunked")
        elif lengths:
            if len(set(lengths)) > 1 or not lengths[0].isdigit():
                raise self._refused
            exchange.on_header(b"content-length", lengths[0])
        self._left = int(lengths[0]) if lengths and not chunked else 0
        none = self._status in (204, 304) or (lengths and not chunked and not self._left)
        self._step = self._end if none else self._size if chunked else self._counted if lengths else self._until_close
        closes = b"close" in connection or (first[1] == b"0" and b"keep-alive" not in connection)
        self._keep_alive = not closes and self._step != self._until_close
        exchange.on_headers_complete()
        return True

    def _end(self) -> bool:
        self._exchange.on_message_complete()
        if self._rest:
            raise self._refused
        return False

    def _until_close(self) -> bool:
        if self._rest:
            self._exchange.on_body(self._take(len(self._rest)))
        return False

    def _counted(self) -> bool:
        piece = self._take(self._left)
        self._left -= len(piece)
        if piece:
            self._exchange.on_body(piece)
        if not self._left:
            self._step = self._size if self._exchange.chunked else self._end
        return not self._left

    def _line(self) -> bytes | None:
        end = self._rest.find(b"\n") + 1
        if end > _MAX_LINE_BYTES or (not end and len(self._rest) > _MAX_LINE_BYTES):
            raise self._refused
        return self._take(end).strip() if end else None

    def _size(self) -> bool:
        if bytes(self._rest[:1]) in (b"\r", b"\n"):  # the end of the chunk before
            if self._rest == b"\r":
                return False
            del self._rest[: 2 if self._rest.startswith(b"\r\n") else 1]
        line = self._line()
        if line is None:
            return False
        size = _CHUNK_SIZE.match(line)
        if size is None:
            raise self._refused
        self._left = int(size[1], 16)
        self._step = self._counted if self._left else self._trailer
        return True

    def _trailer(self) -> bool:
        line = self._line()
        if line == b"":
            self._step = self._end
        return line is not None
