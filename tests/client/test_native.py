"""The native routes of TGI and Ollama, and what servers say of their own times."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from captures_for_tests import capture, read_stream
from hypothesis import given
from hypothesis import strategies as st
from test_request import exchange, row_of

from benchsuite.client.stream import StreamFacts, read_whole

NDJSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n"
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def by_byte(body: bytes, *, ndjson: bool = True, keep_text: bool = False) -> StreamFacts:
    """The facts of a body that came one byte a read, read i stamped i: a stamp is then a count of bytes."""
    reads = range(1, len(body) + 1)
    return read_stream(body, reads, reads, ndjson=ndjson, keep_text=keep_text)


def whole(body: bytes, *headers: str) -> bytes:
    """A response with a length."""
    lines = ["HTTP/1.1 200 OK", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    ("name", "ndjson", "tokens", "empty", "usage", "finish", "done", "text"),
    [
        ("ollama_api_chat", True, 5, 1, (15, 5), "length", True, " left, oxygen/ct"),
        ("ollama_api_generate", True, 5, 1, (14, 5), "length", True, " necess roaderg track mm"),
        ("tgi_generate_stream", False, 3, 0, (4, 3), "length", False, "are remain stage"),
        ("tgi_generate_stream_eos", False, 2, 1, (4, 3), "eos_token", False, " of and"),
        ("tgi_generate_stream_nospace_old_axum", False, 5, 0, (5, 5), "length", False, "Hello! How can I"),
    ],
)
def test_native_streams(name, ndjson, tokens, empty, usage, finish, done, text):
    """A native stream gives tokens, counts, end and text as an OpenAI stream does."""
    facts = by_byte(capture(name), ndjson=ndjson, keep_text=True)
    assert (len(facts.token_ns), facts.n_empty, facts.finish_reason, facts.done) == (tokens, empty, finish, done)
    assert facts.usage == {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    assert ("".join(facts.text), facts.server_error, facts.malformed) == (text, None, None)
    assert facts.first_answer_ns == facts.token_ns[0]


def test_an_error_line_ends_an_ollama_stream():
    """A line with an error, under status 200 and after tokens, is the server's error."""
    facts = by_byte(capture("ollama_api_chat_midstream_error"))
    assert (facts.server_error, len(facts.token_ns), facts.finish_reason) == (
        "an error was encountered while running the model: unexpected EOF",
        4,
        None,
    )
    row = row_of(exchange(NDJSON, capture("ollama_api_chat_midstream_error")))
    assert (row.status, row.error, row.n_chunks) == ("stream_error", facts.server_error, 4)


def test_stamps_of_lines():
    """A line is stamped by the read that carried its newline; lines split over reads and merged ones are told apart."""
    a, b, end = (json.dumps(line).encode() + b"\n" for line in (
        {"message": {"content": "a"}, "done": False},
        {"message": {"content": "b"}, "done": False},
        {"message": {"content": ""}, "done": True, "done_reason": "stop"},
    ))  # fmt: skip
    body, n = a + b + end, len(a)
    for ends, stamps, expected, merged in [
        ([n, n + len(b), len(body)], [10, 20, 30], [10, 20], 0),
        ([n - 1, n, n + 5, len(body)], [10, 20, 30, 40], [20, 40], 0),
        ([n + len(b), len(body)], [10, 20], [10, 10], 1),
        ([len(body)], [7], [7, 7], 1),
    ]:
        facts = read_stream(body, ends, stamps, ndjson=True)
        assert (list(facts.token_ns), facts.merged_reads) == (expected, merged)


@pytest.mark.parametrize(
    ("tail", "finish", "malformed"),
    [
        (b'{"message":{"content":""},"done":true,"done_reason":"stop"}', "stop", False),
        (b'{"message":{"content":""},"done":tr', None, False),
        (b'{"message":{"content":""},"done":tr\n', None, True),
        (b"\n\r\n  \n", None, False),
    ],
    ids=["whole", "torn", "not JSON", "blank"],
)
def test_the_last_line(tail, finish, malformed):
    """A last line without newline counts when it is whole, is nothing when torn; blank lines are nothing."""
    facts = by_byte(b'{"message":{"content":"a"},"done":false}\n' + tail)
    assert (len(facts.token_ns), facts.finish_reason, facts.malformed is not None) == (1, finish, malformed)


def test_thinking_comes_before_the_answer():
    """Thinking counts as a token but not as the answer; a tool call is an answer."""
    lines = [
        {"message": {"content": "", "thinking": "hm"}, "done": False},
        {"message": {"content": "yes"}, "done": False},
        {"message": {"content": "", "tool_calls": [{"function": {}}]}, "done": False},
        {"message": {"content": ""}, "done": True, "done_reason": "stop"},
    ]
    facts = read_stream(*_timed(lines), ndjson=True, keep_text=True)
    assert (list(facts.token_ns), facts.first_answer_ns, facts.text) == ([0, 1, 2], 1, ["yes"])


def _timed(lines: list[dict]) -> tuple[bytes, list[int], list[int]]:
    """One line a read, stamped 0, 1, ..."""
    body, ends = b"", []
    for line in lines:
        body += json.dumps(line).encode() + b"\n"
        ends.append(len(body))
    return body, ends, list(range(len(lines)))


def test_ollama_durations():
    """What is neither loading nor prompt nor generation of the total is waiting; the row has all three in seconds."""
    row = row_of(exchange(NDJSON, capture("ollama_api_chat")))
    assert (row.status, row.input_tokens, row.output_tokens, row.token_source) == ("ok", 15, 5, "usage")
    assert (row.server_queue_s, row.server_prefill_s, row.server_decode_s) == (0.003855393, 0.001006, 0.001833)


@pytest.mark.parametrize(
    ("durations", "expected"),
    [
        ({"total_duration": 10, "load_duration": 4, "prompt_eval_duration": 5, "eval_duration": 6}, (0.0, 5e-9, 6e-9)),
        ({"total_duration": 30, "prompt_eval_duration": 5, "eval_duration": 6}, (1.9e-8, 5e-9, 6e-9)),
        ({"total_duration": 30, "load_duration": 4, "eval_duration": 6}, (None, None, 6e-9)),
        ({"total_duration": 30, "load_duration": 4}, (None, None, None)),
        ({"prompt_eval_duration": 5, "eval_duration": 6}, (None, 5e-9, 6e-9)),
        ({"total_duration": 30, "prompt_eval_duration": -5, "eval_duration": True}, (None, None, None)),
        ({"total_duration": "30", "prompt_eval_duration": 10**400, "eval_duration": None}, (None, None, None)),
        ({}, (None, None, None)),
    ],
)
def test_ollama_durations_that_are_absent_or_odd(durations, expected):
    """A duration that is absent or nonsense stays unknown, and so does the wait that would follow from it."""
    end = {"message": {"content": ""}, "done": True, "done_reason": "stop", **durations}
    facts = read_whole(json.dumps(end).encode())
    assert (facts.queue_s, facts.prefill_s, facts.decode_s) == expected


def test_an_end_without_a_reason():
    """Older releases of Ollama, and TGI asked for no details, end without a reason: the reason is then `done`."""
    for end in ({"message": {"content": "a"}, "done": True}, {"generated_text": "a", "details": None}):
        facts = read_whole(json.dumps(end).encode())
        assert (facts.finish_reason, facts.usage) == ("done", None)


def test_special_tokens_are_no_answer():
    """TGI's end-of-text token is an event without an answer token, as on its chat route; usage counts it."""
    body = (
        b'data:{"index":1,"token":{"id":1,"text":"a","special":false},"generated_text":null,"details":null}\n\n'
        b'data:{"index":2,"token":{"id":2,"text":"</s>","special":true},"generated_text":"a",'
        b'"details":{"finish_reason":"eos_token","generated_tokens":2,"seed":null,"input_length":3}}\n\n'
    )
    row = row_of(exchange(SSE, body), keep_text=True)
    assert (row.n_chunks, row.n_empty_chunks, row.output_tokens, row.input_tokens) == (1, 1, 2, 3)
    assert (row.status, row.finish_reason, row.text) == ("ok", "eos_token", "a")


def test_whole_native_answers():
    """Without streaming a native answer gives counts, end and text; Ollama's its durations, TGI's its headers'."""
    tgi = json.dumps(
        {"generated_text": "Hello", "details": {"finish_reason": "length", "generated_tokens": 5, "tokens": []}}
    ).encode()
    row = row_of(exchange(whole(tgi, "x-queue-time: 250", "x-prompt-tokens: 7")), streaming=False, keep_text=True)
    assert (row.status, row.input_tokens, row.output_tokens, row.finish_reason) == ("ok", 7, 5, "length")
    assert (row.server_queue_s, row.server_prefill_s, row.text, row.first_token_s) == (0.25, None, "Hello", None)
    last = capture("ollama_api_chat").splitlines()[-1].replace(b'"content":""', b'"content":"Hello"')
    row = row_of(exchange(whole(last)), streaming=False, keep_text=True)
    assert (row.status, row.input_tokens, row.output_tokens, row.text) == ("ok", 15, 5, "Hello")
    assert row.server_queue_s == 0.003855393


@pytest.mark.parametrize("value", ["", "x", "-1", "1.5", "9" * 50, "\u00b2"])
def test_headers_that_are_no_number(value):
    """A header that holds no whole number says nothing."""
    made = exchange(whole(b'{"generated_text":"a","details":{"finish_reason":"length"}}', f"x-queue-time: {value}"))
    assert row_of(made, streaming=False).server_queue_s is None


@pytest.mark.parametrize(
    ("name", "head", "prefill_s", "decode_s", "cached"),
    [
        ("llamacpp_chat_stream", SSE, 0.001304, 0.001556, 0),
        ("llamacpp_chat_stream_nousage", SSE, 0.000371, 0.001423, 35),
        ("llamacpp_completions_stream", SSE, 0.000543, 0.001523, 0),
        ("llamacpp_chat_nonstream", None, 0.000265, 0.000965, 35),
        ("llamacpp_completions_nonstream", None, 0.000264, 0.000953, 11),
    ],
)
def test_llamacpp_timings(name, head, prefill_s, decode_s, cached):
    """llama.cpp's own times of prompt and generation, and its cached tokens, come into the row; it names no wait."""
    body = capture(name)
    made = exchange(head, body) if head else exchange(whole(body))
    row = row_of(made, streaming=head is not None)
    assert (row.server_queue_s, row.cached_tokens) == (None, cached)
    assert (row.server_prefill_s, row.server_decode_s) == pytest.approx((prefill_s, decode_s), rel=1e-12)


@pytest.mark.parametrize("timings", [None, 5, [], {}, {"prompt_ms": "a", "predicted_ms": -1, "cache_n": 1.5}])
def test_timings_that_are_none(timings):
    """Timings of another shape say nothing."""
    facts = read_whole(json.dumps({"choices": [], "timings": timings}).encode())
    assert (facts.prefill_s, facts.decode_s, facts.cached_tokens) == (None, None, None)


@pytest.mark.parametrize(
    "name", ["vllm_chat_stream", "transformers_chat_stream", "tgi_chat_stream", "ollama_chat_stream"]
)
def test_servers_that_say_nothing_of_their_times(name):
    """Times that a server does not tell stay unknown."""
    row = row_of(exchange(SSE, capture(name)))
    assert (row.status, row.server_queue_s, row.server_prefill_s, row.server_decode_s) == ("ok", None, None, None)


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.dictionaries(
        st.sampled_from([
            "done", "done_reason", "message", "content", "thinking", "response", "token", "text", "special",
            "generated_text", "details", "finish_reason", "total_duration", "eval_duration", "timings", "prompt_ms",
        ]),
        inner,
        max_size=4,
    ) | st.lists(inner, max_size=2),
    max_leaves=10,
)  # fmt: skip


@given(st.lists(JSONS, max_size=4))
def test_wrong_types_anywhere(lines):
    """JSON of any shape gives facts, never an exception."""
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    facts = by_byte(body, keep_text=True)
    assert facts.finish_reason is None or isinstance(facts.finish_reason, str)
    for value in (facts.queue_s, facts.prefill_s, facts.decode_s):
        assert value is None or value >= 0


@given(st.data())
def test_any_split_gives_the_same_facts(data):
    """However NDJSON is split into reads, only stamps and merged reads differ."""
    body = capture("ollama_api_chat")
    ends = [*data.draw(st.lists(st.integers(0, len(body)), max_size=20).map(sorted)), len(body)]
    stamps = range(100, 100 + len(ends))
    split, one = read_stream(body, ends, stamps, ndjson=True), by_byte(body)
    assert list(split.token_ns) == [
        next(s for s, e in zip(stamps, ends, strict=True) if e >= at) for at in one.token_ns
    ]
    differ = ("token_ns", "first_answer_ns", "merged_reads")
    same = [{k: v for k, v in asdict(f).items() if k not in differ} for f in (split, one)]
    assert same[0] == same[1]
