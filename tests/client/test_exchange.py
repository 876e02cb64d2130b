"""Any bytes from a server, in any pieces: always a classed row, never an exception, never without an end."""

from __future__ import annotations

from itertools import pairwise
from typing import get_args

from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchsuite.client.http import COMPLETE, Exchange, WireError
from benchsuite.client.request import EncodedRequest, PointContext, record_steps
from benchsuite.records import RequestRecord, Status

CONTEXT = PointContext("r", "p", 1, 0, 0, 0, streaming=True)
EVENTS = [
    b'data: {"id":"a","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n',
    b'data: {"id":"a","choices":[{"index":0,"delta":{"content":"one"}}]}\n\n',
    b'data: {"id":"a","choices":[{"index":0,"delta":{"content":"two"},"finish_reason":"stop"}]}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n',
    b"data: [DONE]\n\n",
]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


GOOD = HEAD + chunked(*EVENTS)


def receive(data: bytes, cuts: list[int]) -> RequestRecord:
    """Play `data` into an exchange in pieces cut at `cuts`, as wire.Connection does, and make its row."""
    exchange = Exchange(0, 0)
    exchange.sent_ns = 1
    complete = False
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for at_ns, (start, end) in enumerate(pairwise(edges), start=2):
        exchange.stamps.append(at_ns)
        exchange.user_stamps.append(at_ns)
        exchange.data += data[start:end]
        exchange.ends.append(len(exchange.data))
        try:
            complete = exchange.find_end() == COMPLETE
        except WireError as error:
            exchange.error = error
        if complete or exchange.error is not None:
            break
    if not (complete or exchange.error or exchange.by_close or exchange.marked_ns):
        exchange.error = WireError("truncated", "the server closed the connection within its response")
    exchange.closed_ns = exchange.stamps[-1] if exchange.stamps else 2
    rows: list[RequestRecord] = []
    for _ in record_steps(exchange, EncodedRequest(b"", "p", None, 2), CONTEXT, rows):
        pass
    return rows[0]


@given(st.lists(st.integers(0, 10_000), max_size=40))
def test_any_split_of_a_good_response_is_the_same_answer(cuts: list[int]) -> None:
    """However the bytes are cut into reads: ok, two chunks, two tokens; only the stamps differ."""
    row = receive(GOOD, cuts)

    assert (row.status, row.error) == ("ok", None)
    assert (row.n_chunks, row.output_tokens, row.input_tokens, row.n_empty_chunks) == (2, 2, 3, 2)
    assert row.finish_reason == "stop"


MUTATION = st.tuples(st.integers(0, 10_000), st.binary(max_size=6), st.integers(0, 8))


@settings(max_examples=400)
@given(st.lists(MUTATION, min_size=1, max_size=6), st.lists(st.integers(0, 10_000), max_size=12))
def test_a_damaged_response_is_a_row(mutations: list[tuple[int, bytes, int]], cuts: list[int]) -> None:
    """Bytes replaced, put in and taken out anywhere: a row of a known status, with a word where it is not ok."""
    data = bytearray(GOOD)
    for at, new, gone in mutations:
        at %= len(data) + 1
        data[at : at + gone] = new
    row = receive(bytes(data), cuts)

    assert row.status in get_args(Status)
    assert (row.error is None) == (row.status == "ok")


@settings(max_examples=400)
@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=8))
@example(HEAD + b"-5\r\n" + EVENTS[1], [])
@example(HEAD + b"ffffffffffffffffff\r\n", [])
@example(HEAD + b"7fffffffffffffff\r\nx", [])
@example(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", [])
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nx", [])
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [])
@example(b"HTTP/1.1 100 Continue\r\n\r\n" * 3, [])
@example(b"HTTP/1.1 204 No Content\r\n\r\n", [])
@example(b"HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n", [])
@example(b"HTTP/1.1 200 OK\r\n\xff\xfe: \xc3\x28\r\n\r\n", [])
@example(b"HTTP/9.9 999 \r\n\r\n", [])
@example(b"\r\n\r\n0\r\n\r\n", [])
@example(b"", [])
def test_no_http_at_all_is_a_row(data: bytes, cuts: list[int]) -> None:
    """Noise and known tricks: a row that is not ok, and says why."""
    row = receive(data, cuts)

    assert row.status in get_args(Status)
    assert row.status != "ok"
    assert row.error


def test_endless_headers_are_given_up() -> None:
    """128 KiB of headers without an end are enough: an error, and no more is kept than was read."""
    row = receive(b"HTTP/1.1 200 OK\r\n" + b"X-Pad: yes\r\n" * 16000, list(range(0, 180_000, 1000)))

    assert row.status == "stream_error"
    assert row.error == "response headers longer than 131072 bytes"


def test_one_huge_event_is_read_and_counted() -> None:
    """A megabyte on one line is one event without a token; the answer around it stands."""
    huge = b"data: " + b'{"choices":[],"pad":"' + b"x" * (1 << 20) + b'"}\n\n'
    row = receive(HEAD + chunked(EVENTS[0], huge, *EVENTS[1:]), list(range(0, 1 << 20, 65536)))

    assert (row.status, row.n_chunks, row.output_tokens) == ("ok", 2, 2)
