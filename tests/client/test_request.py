"""One finished exchange becomes one row: its outcome, its times, its tokens. No socket and no clock."""

from __future__ import annotations

import json
from itertools import accumulate

import pytest
from captures_for_tests import capture
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.client import request
from benchsuite.client.http import Exchange, WireError
from benchsuite.client.request import EncodedRequest, PointContext, record_steps
from benchsuite.records import RequestRecord

ORIGIN_NS = 1_000_000_000_000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
ENCODED = EncodedRequest(b"", "p1", "triage", 8)
TRUNCATED = WireError("truncated", "the server closed the connection within its response")


def exchange(*reads: bytes, at_ms: list[float] | None = None, error: WireError | None = None) -> Exchange:
    """An exchange scheduled at 0 ms, sent at 1 ms, whose reads came at 10, 20, ... ms (or at_ms), ours 50 us later."""
    made = Exchange(3, ORIGIN_NS)
    made.sent_ns = ORIGIN_NS + 1_000_000
    for i, read in enumerate(reads):
        ns = ORIGIN_NS + round((at_ms[i] if at_ms else 10 * (i + 1)) * 1_000_000)
        made.stamps.append(ns)
        made.user_stamps.append(ns + 50_000)
        made.data += read
        made.ends.append(len(made.data))
    if reads:
        made.headers_ns = made.stamps[0]
        made.closed_ns = made.stamps[-1]
    made.error = error
    return made


def row_of(made: Exchange, *, streaming: bool = True, keep_text: bool = False) -> RequestRecord:
    """The row of an exchange."""
    context = PointContext("run", "c0008-r0", 8, 0, 2, ORIGIN_NS, streaming, keep_text)
    rows: list[RequestRecord] = []
    for _ in record_steps(made, ENCODED, context, rows):
        pass
    assert len(rows) == 1
    return rows[0]


def event(payload: object) -> bytes:
    """One event."""
    return b"data: " + (payload if isinstance(payload, bytes) else json.dumps(payload).encode()) + b"\n\n"


def token(text: str = "a", finish: str | None = None) -> bytes:
    return event({"id": "x", "choices": [{"delta": {"content": text}, "finish_reason": finish}]})


DONE = event(b"[DONE]")


def usage(**counts: object) -> bytes:
    return event({"choices": [], "usage": counts})


def test_whole_row():
    """A stream's row has every fact, its times in seconds after the origin."""
    made = exchange(HEAD, token(), token(), token("", "stop") + usage(prompt_tokens=9, completion_tokens=3) + DONE)
    assert row_of(made) == RequestRecord(
        run_id="run",
        point_id="c0008-r0",
        concurrency=8,
        repeat=0,
        request_id="c0008-r0-00003",
        prompt_id="p1",
        scenario="triage",
        worker=2,
        scheduled_s=0.0,
        sent_s=0.001,
        headers_s=0.01,
        first_token_s=0.02,
        first_answer_s=0.02,
        last_token_s=0.03,
        closed_s=0.04,
        chunk_gap_us=made_gaps(10_000),
        input_tokens=9,
        cached_tokens=None,
        output_tokens=3,
        reasoning_tokens=None,
        asked_output_tokens=8,
        n_chunks=2,
        n_empty_chunks=2,
        n_reads=4,
        merged_reads=0,
        read_lag_max_us=50,
        connection_reused=False,
        stale_retries=0,
        token_source="usage",
        stamp_source="kernel",
        finish_reason="stop",
        status="ok",
        http_status=200,
        error=None,
        response_id="x",
        text=None,
    )


def made_gaps(*gaps: int) -> object:
    """Gaps as the row holds them."""
    from array import array

    return array("i", gaps)


OK = (token(), token("b", "stop"), DONE)
OUTCOMES = {
    "ok": (exchange(HEAD, *OK), "ok", 200, None),
    "ok without [DONE]": (exchange(HEAD, *OK[:2]), "ok", 200, None),
    "cut behind the finish": (exchange(HEAD, *OK[:2], error=TRUNCATED), "ok", 200, None),
    "cut before the finish": (exchange(HEAD, OK[0], error=TRUNCATED), "truncated", 200, TRUNCATED.message),
    "clean end before the finish": (
        exchange(HEAD, OK[0]), "truncated", 200, "the response ended without a finish_reason",
    ),
    "[DONE] without a finish": (
        exchange(HEAD, OK[0], DONE), "truncated", 200, "the response ended with [DONE] but without a finish_reason",
    ),
    "empty body": (exchange(HEAD), "truncated", 200, "HTTP 200 with an empty body"),
    "never answered": (exchange(error=WireError("timeout", "no byte for 1 s")), "timeout", None, "no byte for 1 s"),
    "timeout behind the finish": (
        exchange(HEAD, *OK[:2], error=WireError("timeout", "no byte for 1 s")), "timeout", 200, "no byte for 1 s",
    ),
    "no connection": (exchange(error=WireError("connect_error", "refused")), "connect_error", None, "refused"),
    "stopped": (exchange(HEAD, OK[0], error=WireError("cancelled", "stopped")), "cancelled", 200, "stopped"),
    "reset": (exchange(HEAD, OK[0], error=WireError("stream_error", "reset")), "stream_error", 200, "reset"),
    "closed before a byte": (exchange(error=WireError("stream_error", "closed")), "stream_error", None, "closed"),
    "http error": (
        exchange(b'HTTP/1.1 429 Too Many\r\nContent-Length: 16\r\n\r\n{"error":"slow"}'),
        "http_error", 429, "HTTP 429: slow",
    ),
    "http error cut short": (
        exchange(b"HTTP/1.1 500 Oh\r\nContent-Length: 99\r\n\r\noh no", error=TRUNCATED),
        "http_error", 500, "HTTP 500: oh no",
    ),
    "other success": (exchange(b"HTTP/1.1 204 No\r\n\r\n"), "http_error", 204, "HTTP 204: with an empty body"),
    "error event": (
        exchange(HEAD, OK[0], event({"error": {"message": "out of memory"}}), DONE),
        "stream_error", 200, "out of memory",
    ),
    "error event behind the finish": (exchange(HEAD, *OK, event({"error": "late"})), "stream_error", 200, "late"),
    "broken event": (
        exchange(HEAD, OK[0], event(b"{bro"), *OK[1:]), "stream_error", 200, "an event is not JSON: '{bro'",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("made", "status", "http_status", "error"), OUTCOMES.values(), ids=OUTCOMES)
def test_outcome(made, status, http_status, error):
    """Every way in which a request can end has its status and its words."""
    row = row_of(made)
    assert (row.status, row.http_status, row.error) == (status, http_status, error)


def test_no_http():
    """What speaks no HTTP is a stream error without an HTTP status."""
    row = row_of(exchange(b"SSH-2.0-OpenSSH\r\n"))
    assert (row.status, row.http_status) == ("stream_error", None)
    assert row.error.startswith("not an HTTP/1.1 response: ")


def test_bytes_before_broken_framing_keep_their_stamp():
    """What a read gave before its framing broke is stamped with that read."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%s\r\n" % (len(token()), token())
    row = row_of(exchange(head, chunk, chunk + b"-5\r\n"))
    assert (row.status, row.n_chunks, row.first_token_s, row.last_token_s) == ("stream_error", 2, 0.02, 0.03)


def test_failed_rows_count_no_tokens_by_chunks():
    """Chunks stand for tokens only in a stream that came to its end."""
    cut = row_of(exchange(HEAD, token(), token()))
    assert (cut.status, cut.n_chunks, cut.output_tokens, cut.token_source) == ("truncated", 2, None, None)
    whole = row_of(exchange(HEAD, token(), token("b", "stop")))
    assert (whole.output_tokens, whole.token_source) == (2, "chunks")


@pytest.mark.parametrize(
    ("usages", "counted"),
    [
        ([{"prompt_tokens": 9, "completion_tokens": 5}], (9, None, 5, None, "usage")),
        ([{"prompt_tokens": 0, "completion_tokens": 0}] * 3 + [{"prompt_tokens": 9, "completion_tokens": 5}],
         (9, None, 5, None, "usage")),
        ([{"prompt_tokens": 9, "completion_tokens": -5}], (9, None, 1, None, "chunks")),
        ([{"prompt_tokens": 9, "completion_tokens": 10**12}], (9, None, 1, None, "chunks")),
        ([{"prompt_tokens": 9, "completion_tokens": True}], (9, None, 1, None, "chunks")),
        ([{"prompt_tokens": "9", "completion_tokens": 5}], (None, None, 5, None, "usage")),
        ([{"prompt_tokens": 9, "completion_tokens": 0}], (9, None, 1, None, "chunks")),
        ([{"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4},
           "completion_tokens_details": {"reasoning_tokens": 3}}], (9, 4, 5, 3, "usage")),
        ([{"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": None,
           "completion_tokens_details": [3]}], (9, None, 5, None, "usage")),
        ([], (None, None, 1, None, "chunks")),
    ],
)  # fmt: skip
def test_usage(usages, counted):
    """Counts are the usage's where it makes sense, else the chunks; the row says which."""
    row = row_of(exchange(HEAD, token("a", "stop"), *(usage(**u) for u in usages), DONE))
    fields = (row.input_tokens, row.cached_tokens, row.output_tokens, row.reasoning_tokens, row.token_source)
    assert fields == counted


@given(st.lists(st.integers(0, 3_000_000_000), min_size=2, max_size=40).map(sorted))
def test_gaps_add_up(at_ns):
    """The running sum of the gaps never strays from the stamps by more than a microsecond."""
    made = exchange(*[HEAD] + [token()] * len(at_ns), at_ms=[0.0] + [0.0] * len(at_ns))
    for i, ns in enumerate(at_ns, 1):
        made.stamps[i] = ORIGIN_NS + ns
    gaps = row_of(made).chunk_gap_us
    assert len(gaps) == len(at_ns) - 1
    for ns, us in zip(at_ns[1:], accumulate(gaps), strict=True):
        assert abs(ns - at_ns[0] - us * 1000) <= 1000


@pytest.mark.parametrize(("events", "gaps"), [(0, []), (1, []), (2, [10_000])])
def test_gaps_of_few_tokens(events, gaps):
    """No token and one token have no gap."""
    assert list(row_of(exchange(HEAD, *[token()] * events)).chunk_gap_us) == gaps


def test_a_gap_beyond_the_column_is_capped():
    """A gap of an hour is written as the longest that the column holds, and loses no row."""
    row = row_of(exchange(HEAD, token(), token("b", "stop"), at_ms=[0, 0, 3_600_000]))
    assert (list(row.chunk_gap_us), row.last_token_s) == ([2_147_483_647], 3600.0)


def test_not_streaming():
    """A whole JSON body has counts and its last byte's time, and no token times."""
    body = capture("vllm_chat_nonstream")
    made = exchange(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:100], body[100:])
    row = row_of(made, streaming=False, keep_text=True)
    assert (row.status, row.output_tokens, row.token_source, row.finish_reason) == ("ok", 8, "usage", "length")
    assert (row.first_token_s, row.first_answer_s, row.last_token_s, row.n_chunks) == (None, None, 0.02, 0)
    assert row.text == json.loads(body)["choices"][0]["message"]["content"]


def test_json_instead_of_a_stream():
    """A server that answers a streaming request with one JSON object is ok, without token times."""
    body = capture("vllm_chat_nonstream")
    row = row_of(exchange(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)))
    assert (row.status, row.output_tokens, row.first_token_s, row.n_chunks) == ("ok", 8, None, 0)


def test_error_object_instead_of_a_stream():
    """An error object with HTTP 200 is the server's error."""
    body = b'{"error":{"message":"no"}}'
    row = row_of(exchange(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)))
    assert (row.status, row.error) == ("stream_error", "no")


def test_text_only_when_asked():
    """The text is kept when asked for, and is always something that UTF-8 can carry."""
    reads = (HEAD, event(b'{"choices":[{"delta":{"content":"a\\ud83d"}}]}'),
             event(b'{"choices":[{"delta":{"content":"\\ude00\\ud83d"},"finish_reason":"stop"}]}'))  # fmt: skip
    assert row_of(exchange(*reads)).text is None
    assert row_of(exchange(*reads), keep_text=True).text == "a\U0001f600\ufffd"
    assert row_of(exchange(HEAD, DONE), keep_text=True).text == ""


def test_without_kernel_stamps():
    """Where the kernel gave no stamp, the lag is unknown and the row says so."""
    made = exchange(HEAD, *OK)
    made.kernel_stamped = False
    row = row_of(made)
    assert (row.stamp_source, row.read_lag_max_us) == ("user", None)
    assert row_of(exchange()).stamp_source == "user"


def test_long_parse_yields():
    """A long stream is parsed in steps, so that it never holds up an event loop."""
    made = exchange(HEAD, *[token()] * 1000)
    context = PointContext("run", "p", 1, 0, 0, ORIGIN_NS, True)
    assert sum(1 for _ in record_steps(made, ENCODED, context, [])) >= 7


def test_no_clock():
    """The module knows no clock."""
    names = vars(request)
    assert not {"time", "now_ns", "clock", "datetime"} & set(names)
