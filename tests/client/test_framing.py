"""One answer in every framing that servers and gateways give it, over a real socket: its row, and what httpx and the
openai SDK make of it.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import zlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fakes.raw import raw_server

from benchsuite.client import connection as wire
from benchsuite.client.connection import Connection, Link
from benchsuite.client.http import Endpoint, Exchange, WireError
from benchsuite.client.request import EncodedRequest, PointContext, http_request, record_steps
from benchsuite.clock import now_ns
from benchsuite.records import RequestRecord


def event(delta: dict[str, object], finish: str | None = None, **more: object) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return json.dumps({"id": "x", "object": "chat.completion.chunk", "choices": choices, **more}).encode()


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
JSON = [event({"role": "assistant", "content": ""}), event({"content": "a [DONE]"}), event({"content": "b"}),
        event({}, "stop", usage=USAGE)]  # fmt: skip
EVENTS = [b"data: " + tree + b"\n\n" for tree in JSON]
DONE = b"data: [DONE]\n\n"
SSE = b"".join([*EVENTS, DONE])
NATIVE = [json.dumps({"model": "m", "message": {"role": "assistant", "content": text}, "done": False}).encode() + b"\n"
          for text in ("a", "b")] + [json.dumps({"model": "m", "message": {"content": ""}, "done": True, "done_reason":
          "stop", "prompt_eval_count": 3, "eval_count": 2, "context": [1, 2]}).encode() + b"\n"]  # fmt: skip
WHOLE = json.dumps({"id": "x", "choices": [{"index": 0, "message": {"role": "assistant", "content": "ab"},
                                            "finish_reason": "stop"}], "usage": USAGE}).encode()  # fmt: skip
OK, KIND, LAST = b"HTTP/1.1 200 OK\r\n", b"Content-Type: text/event-stream\r\n", b"0\r\n\r\n"
CHUNKED = OK + KIND + b"Transfer-Encoding: chunked\r\n\r\n"
CLOSED = OK + KIND + b"Connection: close\r\n\r\n"


def chunk(data: bytes, size: str = "{:x}\r\n", end: bytes = b"\r\n") -> bytes:
    return size.format(len(data)).encode() + data + end


def chunks(*parts: bytes, **spelling: object) -> bytes:
    return b"".join(chunk(part, **spelling) for part in parts)  # type: ignore[arg-type]


def counted(body: bytes, head: bytes = OK + KIND) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def zipped(wbits: int) -> list[bytes]:
    """The events, each flushed by itself."""
    packer = zlib.compressobj(wbits=wbits)
    return [*(packer.compress(e) + packer.flush(zlib.Z_SYNC_FLUSH) for e in [*EVENTS, DONE]), packer.flush()]


@dataclass(frozen=True)
class Framing:
    """One spelling of the answer, and what comes of it. others: what httpx and the SDK make of it: "read", or "refuse:"
    and why we read it all the same, or "differ:" and why ours is right.
    """

    pieces: tuple[bytes, ...]
    then: str = "keep"
    others: str = "read"
    notes: str | None = None
    status: str = "ok"
    error: str | None = None
    n_chunks: int = 2
    tokens: int | None = 2
    kept: bool = True  # the connection


def of(*pieces: bytes, **expected: object) -> Framing:
    return Framing(pieces, **expected)  # type: ignore[arg-type]


LOOSE = "loose_http"
CURL = "refuse: curl reads it; only its spelling differs, and every byte of the body is framed all the same"
FRAMINGS: dict[str, Framing] = {
    "chunked, an event each": of(CHUNKED, *map(chunk, [*EVENTS, DONE]), LAST),
    "chunked, all in one": of(CHUNKED + chunk(SSE) + LAST),
    "chunks across events": of(CHUNKED, chunk(SSE[:50]), chunk(SSE[50:70]), chunk(SSE[70:]), LAST),
    "counted": of(counted(SSE)),
    "until close": of(CLOSED, SSE, then="close", kept=False),
    "until close, unsaid": of(OK + KIND + b"\r\n" + SSE, then="close", kept=False),
    "HTTP/1.0": of(b"HTTP/1.0 200 OK\r\n" + KIND + b"\r\n", *EVENTS, DONE, then="close", kept=False),
    "HTTP/1.0 kept alive": of(counted(SSE, b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + KIND)),
    "HTTP/1.0 without keep-alive": of(counted(SSE, b"HTTP/1.0 200 OK\r\n" + KIND), then="close", kept=False),
    "HTTP/1.0 in chunks": of(b"HTTP/1.0 200 OK\r\n" + KIND + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(SSE) + LAST,
                            then="close", others="differ: h11 takes the chunk sizes for body", kept=False),
    "Content-Length beside chunks": of(OK + KIND + b"Content-Length: 5120\r\nTransfer-Encoding: chunked\r\n\r\n",
                                      *map(chunk, [*EVENTS, DONE]), LAST, notes="length_and_chunked"),
    "Content-Length 0 beside chunks": of(OK + KIND + b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n"
                                        + chunk(SSE) + LAST, notes="length_and_chunked"),
    "chunked said twice": of(OK + KIND + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
                             + chunk(SSE)
                            + LAST, others=CURL),
    "Content-Length said twice": of(counted(SSE, OK + KIND + b"Content-Length: %d\r\n" % len(SSE)), notes=LOOSE),
    "Transfer-Encoding: identity": of(counted(SSE, OK + KIND + b"Transfer-Encoding: identity\r\n"), notes=LOOSE,
                                     others=CURL),
    "head in LF": of(CHUNKED.replace(b"\r\n", b"\n"), chunk(SSE), LAST, notes=LOOSE),
    "head in LF, byte by byte": of(*(CHUNKED.replace(b"\r\n", b"\n")[i : i + 1] for i in range(80)),
                                  CHUNKED.replace(b"\r\n", b"\n")[80:], chunk(SSE), LAST, notes=LOOSE),
    "all in LF": of(CHUNKED.replace(b"\r\n", b"\n") + chunks(*EVENTS, DONE, size="{:x}\n", end=b"\n") + b"0\n\n",
                   notes=LOOSE, others=CURL),
    "folded header": of(counted(SSE, OK + KIND + b"X-Policy: one\r\n  two\r\n\tthree\r\n"), notes=LOOSE),
    "blanks around a header": of(counted(SSE, OK + b"Content-Type :  text/event-stream  \r\n"), notes=LOOSE,
                                     others=CURL),
    "header without a colon": of(counted(SSE, OK + KIND + b"garbage\r\n"), notes=LOOSE, others=CURL),
    "control character in a header": of(counted(SSE, OK + KIND + b"X-A: a\x01b\r\n"), notes=LOOSE),
    "header beyond ASCII": of(counted(SSE, OK + KIND + "X-Who: café \u2026\r\n".encode())),
    "huge header": of(counted(SSE, OK + KIND + b"Content-Security-Policy: " + b"x" * 60_000 + b"\r\n")),
    "no reason": of(counted(SSE, b"HTTP/1.1 200\r\n" + KIND)),
    "status line in lower case": of(counted(SSE, b"http/1.1  200 OK\r\n" + KIND), notes=LOOSE, others=CURL),
    "blank line before": of(b"\r\n" + counted(SSE), others=CURL),
    "interim 100": of(b"HTTP/1.1 100 Continue\r\n\r\n", CHUNKED, chunk(SSE), LAST),
    "interim 103, LF": of(b"HTTP/1.1 103 Early Hints\nlink: </x>\n\n", CHUNKED, chunk(SSE), LAST, notes=LOOSE),
    "chunk sizes in upper case": of(CHUNKED, *(chunk(e, "{:X}\r\n") for e in [*EVENTS, DONE]), LAST),
    "chunk sizes with zeros": of(CHUNKED, *(chunk(e, "{:08x}\r\n") for e in [*EVENTS, DONE]), b"000\r\n\r\n"),
    "chunk extensions": of(CHUNKED, *(chunk(e, '{:x};q=1;n="a;b"\r\n') for e in [*EVENTS, DONE]), b"0;last\r\n\r\n"),
    "blanks behind chunk sizes": of(CHUNKED, *(chunk(e, "{:x}  \r\n") for e in [*EVENTS, DONE]), b"0  \r\n\r\n",
                                   notes=LOOSE),
    "blanks before extensions": of(CHUNKED, *(chunk(e, "{:x} ; q=1\r\n") for e in [*EVENTS, DONE]), LAST, notes=LOOSE,
                                  others=CURL),
    "trailers": of(CHUNKED, chunk(SSE), b"0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"),
    "upgrade offered": of(counted(SSE, OK + KIND + b"Upgrade: h2,h2c\r\nConnection: Upgrade, Keep-Alive\r\n")),
    "Keep-Alive: timeout": of(counted(SSE, OK + KIND + b"Connection: Keep-Alive\r\nKeep-Alive: timeout=5, max=9\r\n")),
    "201 Created": of(counted(SSE, b"HTTP/1.1 201 Created\r\n" + KIND)),
    "as text/plain": of(counted(SSE, OK + b"Content-Type: text/plain\r\n"), notes="content_type_of_another"),
    "as octet-stream": of(counted(SSE, OK + b"Content-Type: application/octet-stream\r\n"),
                         notes="content_type_of_another"),
    "without a content type": of(counted(SSE, OK)),
    "whole JSON": of(counted(WHOLE, OK + b"Content-Type: application/json\r\n"), n_chunks=0,
                    others="differ: it is no stream, and the SDK finds no event in it; the server did answer"),
    "JSON lines as JSON": of(counted(b"\n".join(JSON), OK + b"Content-Type: application/json\r\n"),
                            notes="content_type_of_another events_not_separated",
                            others="differ: the SDK knows SSE alone; the lines are the events of a completion"),
    "NDJSON": of(OK + b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n", *map(chunk, NATIVE),
                LAST, others="differ: a native protocol, which the SDK does not speak"),
    # bodies that lack their end, or go on behind it
    "[DONE], then the connection stays open": of(CHUNKED, *map(chunk, [*EVENTS, DONE]), then="hold", kept=False,
                                                notes="body_lingers"),
    "[DONE], counted too long": of(OK + KIND + b"Content-Length: 9999\r\n\r\n" + SSE, then="hold", kept=False,
                                  notes="body_lingers"),
    "[DONE], until a close that never comes": of(OK + KIND + b"\r\n" + SSE, then="hold", kept=False,
                                                notes="body_lingers"),
    "[DONE] of another spelling": of(CHUNKED, chunk(b"".join(EVENTS)), chunk(b'data:"[DONE]"  \r\n\r\n'), then="hold",
                                    notes="body_lingers", kept=False,
                                    others="differ: the SDK wants [DONE] to the letter and waits"),
    "[DONE], then comments": of(CHUNKED, chunk(SSE), *[chunk(b": still here\n\n")] * 3, then="hold", kept=False,
                               notes="body_lingers"),
    "NDJSON's done, then the connection stays open": of(
        OK + b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n", *map(chunk, NATIVE),
        then="hold", kept=False, notes="body_lingers",
        others="differ: a native protocol, which the SDK does not speak"),
    "[DONE], then a close without last chunk": of(
        CHUNKED, *map(chunk, [*EVENTS, DONE]), then="close", kept=False, notes="last_chunk_missing",
        others="differ: the SDK reads it, httpx by line raises at the end; the stream is whole"),
    "a whole stream without [DONE] or last chunk": of(
        CHUNKED, *map(chunk, EVENTS), then="close", kept=False, notes="last_chunk_missing",
        others="refuse: httpx and the SDK raise; its finish_reason and usage say that the stream is whole"),
    "[DONE], counted too long, then a close": of(
        OK + KIND + b"Content-Length: 9999\r\n\r\n" + SSE, then="close", kept=False, notes="last_chunk_missing",
        others="differ: the SDK reads it, httpx by line raises at the end; the stream is whole"),
    # bodies whose framing says that bytes are missing: they have no end, whatever stands in them
    **{name: of(head, *pieces, then="close", kept=False, status="truncated",
                error="the server closed the connection within its response", others=others)
       for others in ["differ: the SDK is content with [DONE], httpx raises; by its framing the response is cut"]
       for name, head, pieces in (
           ("[DONE] in a chunk that lacks bytes", CHUNKED, [chunk(e) for e in EVENTS] + [b"ff\r\n" + DONE]),
           ("all of it in a chunk that lacks bytes", CHUNKED, [b"fff\r\n" + SSE + b"\r\n0\r\n\r\n"]),
           ("cut within a chunk behind the finish_reason", CHUNKED, [chunk(e) for e in EVENTS] + [b"20\r\ndata"]),
           ("[DONE] in a chunk that lacks bytes, LF", CHUNKED.replace(b"\r\n", b"\n"), [b"fff\n" + SSE + b"\n"]),
           ("no [DONE], counted too long", OK + KIND + b"Content-Length: 9999\r\n\r\n", EVENTS),
       )},
    "a response behind the response": of(counted(SSE) + b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", kept=False,
                                        notes="bytes_after_response"),
    "garbage behind the last chunk": of(CHUNKED + chunk(SSE) + LAST + b"garbage", kept=False,
                                       notes="bytes_after_response"),
    # compressed although identity was requested
    "gzip": of(counted(gzip.compress(SSE), OK + KIND + b"Content-Encoding: gzip\r\n"), notes="body_compressed"),
    "gzip, flushed": of(OK + KIND + b"Content-Encoding: GZIP\r\nTransfer-Encoding: chunked\r\n\r\n",
                       *map(chunk, zipped(31)), LAST, notes="body_compressed"),
    "deflate": of(counted(b"".join(zipped(15)), OK + KIND + b"Content-Encoding: deflate\r\n"), notes="body_compressed"),
    "raw deflate": of(counted(b"".join(zipped(-15)), OK + KIND + b"Content-Encoding: deflate\r\n"),
                     notes="body_compressed"),
    "gzip, a member for each event": of(
        OK + KIND + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
        *(chunk(gzip.compress(e)) for e in [*EVENTS, DONE]), LAST, notes="body_compressed",
        others="differ: httpx reads the first member alone; RFC 1952 lets a file have several"),
    "gzip as a transfer coding": of(
        OK + KIND + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunk(gzip.compress(SSE)) + LAST,
        notes="body_compressed", others="refuse: curl reads it, when asked to"),
    "gzip, unsaid": of(counted(gzip.compress(SSE)), notes="body_compressed",
                      others="differ: to both it is a stream without an event"),
    **{f"Content-Encoding: {word}": of(counted(SSE, OK + KIND + b"Content-Encoding: %s\r\n" % word.encode()))
       for word in ("none", "utf-8", "identity, identity")},
    "502 in brotli": of(
        counted(b"abc", b"HTTP/1.1 502 Bad Gateway\r\nContent-Encoding: br\r\n"), n_chunks=0, tokens=None,
        status="http_error", error="HTTP 502: content-encoding 'br'", kept=False, others="refuse: all three refuse it"),
    # what fails, and in which words
    "brotli": of(counted(b"\x0b\x02\x80abc\x03", OK + KIND + b"Content-Encoding: br\r\n"), n_chunks=0, tokens=None,
                status="stream_error", error="content-encoding 'br', though identity was requested", kept=False,
                others="differ: httpx hands on bytes that nobody decoded"),
    "gzip that is none": of(counted(SSE, OK + KIND + b"Content-Encoding: gzip\r\n"), n_chunks=0, tokens=None,
                           status="stream_error", error="the body is not gzip: ", others="refuse: all three refuse it"),
    "204": of(b"HTTP/1.1 204 No Content\r\n\r\n", status="http_error", error="HTTP 204: with an empty body", n_chunks=0,
             tokens=None, others="differ: a stream without an event to both; no completion all the same"),
    "200, empty": of(counted(b""), status="truncated", error="HTTP 200 with an empty body", n_chunks=0, tokens=None,
                    others="differ: a stream without an event to both; no completion all the same"),
    "closed before the headers": of(then="close", status="stream_error", n_chunks=0, tokens=None, kept=False,
                                   error="the server closed the connection before a response",
                                   others="refuse: all three refuse it"),
    "closed within the headers": of(OK + b"Content-Le", then="close", status="truncated", n_chunks=0, tokens=None,
                                   kept=False, error="the server closed the connection within its response",
                                   others="refuse: all three refuse it"),
    "308": of(b"HTTP/1.1 308 Permanent Redirect\r\nLocation: https://h.invalid/v1/chat/completions\r\n"
             b"Content-Length: 0\r\n\r\n", status="http_error", n_chunks=0, tokens=None,
             error="HTTP 308: redirects to https://h.invalid/v1/chat/completions: use that as --base-url",
             others="differ: a redirect is followed or not by a setting; a measured address should be the right one"),
    "307 to a path with a slash": of(
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /v1/chat/completions/?a=secret\r\nContent-Length: 0\r\n\r\n",
        status="http_error", n_chunks=0, tokens=None, error="/v1/chat/completions/: use that as --path /v1/chat/",
        others="differ: as above"),
    "a page": of(counted(b"<html><title>Sign in</title></html>", OK + b"Content-Type: text/html\r\n"), n_chunks=0,
                tokens=None, status="stream_error", error="text/html: Sign in",
                others="differ: a stream without an event to both; no completion all the same"),
    "502 with a body": of(counted(b'{"error": {"message": "no worker"}}', b"HTTP/1.1 502 Bad Gateway\r\n"), n_chunks=0,
                         tokens=None, status="http_error", error="HTTP 502: no worker",
                         others="refuse: all three refuse it"),
    "two lengths": of(OK + KIND + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", status="stream_error",
                     n_chunks=0, tokens=None, kept=False, error="not an HTTP/1.1 response: Duplicate Content-Length",
                     others="refuse: all three refuse it: nobody can know where it ends"),
    "no HTTP": of(b"SSH-2.0-OpenSSH_9\r\n", then="hold", status="stream_error", n_chunks=0, tokens=None, kept=False,
                 error="not an HTTP/1.1 response: ", others="refuse: all three refuse it"),
    "another protocol": of(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
                          then="hold",
                          status="stream_error", error="the server switched protocols", n_chunks=0, tokens=None,
                          kept=False, others="refuse: all three refuse it"),
}  # fmt: skip


async def ask(link: Link) -> tuple[RequestRecord, bool]:
    """One request on a connection of its own: its row, and whether the connection may be used again."""
    connection, ended = Connection(link), asyncio.Event()
    exchange = Exchange(0, now_ns())
    exchange.on_done = lambda _: ended.set()
    request = http_request(link.endpoint, {"model": "m", "stream": True}, stream=True)
    try:
        await connection.open()
        connection.send(request, exchange)
        async with asyncio.timeout(60):
            await ended.wait()
    except WireError as error:
        exchange.error = error
    context = PointContext("r", "p", 1, 0, 0, exchange.scheduled_ns, True, endpoint=link.endpoint.base_url)
    rows: list[RequestRecord] = []
    for _ in record_steps(exchange, EncodedRequest(request, "p", None, 2), context, rows):
        pass
    kept = connection.is_open
    connection.close()
    return rows[0], kept


def link_to(url: str) -> Link:
    parts = urlsplit(url)
    address = parts.hostname or "", parts.port
    endpoint = Endpoint(2, address, address[0], parts.netloc, "/v1/chat/completions", url)
    return Link(asyncio.get_running_loop(), endpoint, 5.0)


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
async def test_the_row_of_a_framing(framing: Framing, monkeypatch):
    """The row has tokens, status and words; what was odd is noted; the connection is kept where it can be."""
    monkeypatch.setattr(wire, "_LINGER_S", 0.02)
    with raw_server(framing.pieces, framing.then) as (url, _):
        row, kept = await ask(link_to(url))
    got = (row.status, row.n_chunks, row.output_tokens, row.notes, kept)
    assert got == (framing.status, framing.n_chunks, framing.tokens, framing.notes, framing.kept), row.error
    assert (framing.error or "") in (row.error or "")
    assert (row.error is None) == (framing.error is None)
    if row.status == "ok":
        assert (row.input_tokens, row.finish_reason) == (3, "stop")
        assert row.sent_s <= row.headers_s <= (row.last_token_s or row.closed_s) <= row.closed_s


REFERENCE: dict[str, Any] = {"timeout": 2, "trust_env": False, "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
def test_what_other_clients_make_of_it(framing: Framing):
    """What httpx and the openai SDK read, we read; where they do not, or read another thing, the table says why."""
    import openai  # here: a second to import

    with raw_server(framing.pieces, framing.then) as (url, _):
        try:
            with httpx.stream("POST", f"{url}/v1/chat/completions", json={}, **REFERENCE) as response:
                by_httpx = response.is_success
                any(line.startswith("data: [DONE]") for line in response.iter_lines())
        except httpx.HTTPError:
            by_httpx = False
        try:
            with openai.OpenAI(
                base_url=f"{url}/v1", api_key="none", max_retries=0, http_client=httpx.Client(**REFERENCE)
            ) as sdk:
                said = [
                    part for part in sdk.chat.completions.create(model="m", messages=[], stream=True) if part.choices
                ]
            by_sdk = [part.choices[0].delta.content for part in said][1:3] == ["a [DONE]", "b"]
        except (openai.OpenAIError, httpx.HTTPError, ValueError, AttributeError):  # the last: an event that is a text
            by_sdk = False
    word, _, why = framing.others.partition(": ")
    assert (word == "read") == (not why)
    if word == "read":
        assert (by_httpx, by_sdk, framing.status) == (True, True, "ok")
    elif word == "refuse":
        assert (by_httpx, by_sdk) == (False, False)
