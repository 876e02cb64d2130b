"""What streams say, and when: real servers' bytes, the SSE grammar, and bytes that no server should send."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from captures_for_tests import by_byte, capture, read_stream
from hypothesis import example, given
from hypothesis import strategies as st

from benchsuite.client import stream
from benchsuite.client.stream import clean_text, count, error_message, pieces, read_whole
from benchsuite.limits import most


def sse(*payloads: object, end: str = "\n") -> bytes:
    """Events, one a payload: text as it is, anything else as JSON."""
    texts = [p if isinstance(p, str) else json.dumps(p) for p in payloads]
    return "".join(f"data: {text}{end}{end}" for text in texts).encode()


def token(text: str = "a", **more: object) -> dict:
    return {"id": "x", "choices": [{"index": 0, "delta": {"content": text}, **more}]}


FINISH = token("", finish_reason="stop")

# name: chunks, bytes up to the end of the first token and first answer event, empty events, prompt tokens, output
# tokens, finish_reason, [DONE], response id
REAL = [
    ("vllm_chat_stream", 8, 486, 486, 2, 36, 8, "length", True, "chatcmpl-b0c9609f1b0cd759"),
    ("vllm_chat_stream_contusage", 8, 690, 690, 2, 36, 8, "length", True, "chatcmpl-b9024572eb1b2a72"),
    ("vllm_chat_stream_nousage", 8, 486, 486, 1, None, None, "length", True, "chatcmpl-992a1fac2442836c"),
    ("vllm_chat_stream_n2", 6, 749, 749, 3, 36, 6, "length", True, "chatcmpl-83a7de04b1394cc8"),
    ("vllm_chat_stream_stop1", 1, 509, 509, 2, 36, 1, "length", True, "chatcmpl-b7f75fdd862a17f6"),
    ("vllm_completions_stream", 8, 243, 243, 1, 12, 8, "length", True, "cmpl-a6cae9892a8b409e"),
    ("llamacpp_chat_stream", 8, 496, 496, 3, 36, 8, "length", True, "chatcmpl-mhdBFdXNHXQcKniHkAflDMmmkFSq90QA"),
    ("llamacpp_chat_stream_ping", 1, 496, 496, 1, None, None, None, False, "chatcmpl-ERSleUBUWNxEDhTUPndpaKpTw1n7PQNB"),
    ("llamacpp_completions_stream", 8, 237, 237, 1, 12, 8, "length", True, "chatcmpl-cHDFJt8LKWb16tVWr4AoCxKgEqCXWcAu"),
    ("llamacpp_completions_stream_2prompts", 4, 250, 250, 3, 5, 2, "length", True,
     "chatcmpl-O7P33Q2cYHN3pKP7550I9wQgE2tDC9h7"),
    ("llamacpp_utf8_stream_body", 60, 237, 237, 1, 3, 60, "length", True, "chatcmpl-mxqPHlwwNAjVIUy7l6ojUPCudEM0B6yX"),
    ("transformers_chat_stream", 8, 445, 445, 2, 36, 8, "length", False, "5cebaafe-3fdc-463e-ac8c-cb1f7b57bb0d"),
    ("transformers_completions_stream", 8, 179, 179, 1, 12, 8, "length", False, "2552c4b8-f2f5-415e-a6f5-855017c34056"),
    ("transformers_cb_chat_stream", 8, 445, 445, 2, 36, 8, "length", False, "91791061-f305-41bc-be7f-f51c3c86a0e5"),
    ("transformers517cb_chat_stream", 8, 445, 445, 2, 36, 8, "length", False, "e634e0ba-de26-4841-a58f-d6ddfec0f8a1"),
    ("llamacpppython_chat_stream", 8, 487, 487, 2, None, None, "length", True,
     "chatcmpl-dba8002c-9999-411d-802f-ac3ebf41d7f6"),
    ("tgi_chat_stream", 3, 252, 252, 1, 15, 3, "length", True, None),
    ("tgi_chat_stream_eos", 2, 252, 252, 2, 15, 3, "stop", True, None),
    ("tgi_chat_stream_keepalive", 3, 255, 255, 1, 15, 3, "length", True, None),
    ("tgi_completions_stream", 3, 200, 200, 0, 4, 3, "length", True, None),
    ("tgi_completions_stream_eos", 3, 199, 199, 0, 4, 3, "eos_token", True, None),
    ("ollama_chat_stream", 5, 221, 221, 2, 15, 5, "length", True, "chatcmpl-752"),
    ("ollama_chat_stream_thinking", 4, 239, None, 2, 17, 4, "length", True, "chatcmpl-209"),
    ("ollama_chat_stream_tools", 1, 337, 337, 2, 87, 35, "tool_calls", True, "chatcmpl-300"),
    ("ollama_completions_stream", 5, 250, 250, 2, 15, 5, "length", True, "cmpl-757"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "chunks", "first", "answer", "empty", "prompt", "output", "finish", "done", "response_id"),
    REAL,
    ids=[case[0] for case in REAL],
)
def test_real_streams(name, chunks, first, answer, empty, prompt, output, finish, done, response_id):
    """A real server's stream gives its tokens, counts, end and id, and no error."""
    facts = by_byte(capture(name))
    assert (len(facts.token_ns), facts.token_ns[0], facts.first_answer_ns) == (chunks, first, answer)
    usage = facts.usage or {}
    assert (usage.get("prompt_tokens"), usage.get("completion_tokens")) == (prompt, output)
    assert (facts.n_empty, facts.finish_reason, facts.done, facts.response_id) == (empty, finish, done, response_id)
    assert (facts.server_error, facts.malformed) == (None, None)


@pytest.mark.parametrize(
    ("name", "message", "done"),
    [
        (
            "tgi_chat_stream_error_in_200",
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 512. "
            "Given: 15 `inputs` tokens and 600 `max_new_tokens`",
            True,
        ),
        ("tgi_generate_stream_error_in_200", "Model is overloaded", False),
    ],
)
def test_errors_inside_a_stream(name, message, done):
    """An error event inside a 200 is the server's error, not a malformed stream."""
    facts = by_byte(capture(name))
    assert (facts.server_error, facts.malformed, facts.done, len(facts.token_ns)) == (message, None, done, 0)


def test_no_space_after_the_colon():
    """`data:{` is as good as `data: {`."""
    assert len(by_byte(capture("tgi_generate_stream_nospace_old_axum")).token_ns) == 5
    body = sse(token("a"), FINISH, "[DONE]").replace(b"data: ", b"data:")
    facts = by_byte(body)
    assert (len(facts.token_ns), facts.finish_reason, facts.done) == (1, "stop", True)


@pytest.mark.parametrize(
    ("name", "output", "response_id"),
    [
        ("vllm_chat_nonstream", 8, "chatcmpl-b92e29385667713f"),
        ("llamacpp_chat_nonstream", 8, "chatcmpl-9bl6LHmJUnM25pGuvWAPrws3ZutIy6sA"),
    ],
)
def test_whole_bodies(name, output, response_id):
    """A whole JSON body gives counts, end and id, and no token times."""
    facts = read_whole(capture(name))
    assert (facts.usage["completion_tokens"], facts.finish_reason, facts.done) == (output, "length", True)
    assert (facts.response_id, len(facts.token_ns), facts.first_answer_ns) == (response_id, 0, None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("transformers_err_unknown_field", "Unexpected fields in the request: {'no_such_field'}"),
        ("transformers_err_max_tokens_0", "Internal Server Error"),
        ("vllm_err_unknown_model", "The model `no-such-model` does not exist. Valid aliases: tiny-llama."),
        (
            "llamacpp_err_context_too_long",
            "request (36013 tokens) exceeds the available context size (4096 tokens), try increasing it",
        ),
    ],
)
def test_error_bodies(name, message):
    """Every server's error body is reduced to the words in it."""
    assert error_message(capture(name)) == message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", ""),
        (b"\xff\xfe oh\n no", "\ufffd\ufffd oh no"),
        (b'{"error": null}', "null"),
        (b'{"detail": [{"loc": ["body", "x"], "msg": "no"}]}', '[{"loc": ["body", "x"], "msg": "no"}]'),
        (b'{"error": {"message": {"detail": "deep"}}}', '{"detail": "deep"}'),
        (b'{"error": "half \\ud83d"}', "half \ufffd"),
        (b"[" * 5000, "[" * 300),
        (b'{"error": "' + b"x" * 1000 + b'"}', "x" * 300),
    ],
)
def test_odd_error_bodies(body, message):
    """An error body of any kind gives one line of at most 300 characters that UTF-8 can carry."""
    assert error_message(body) == message


# the grammar
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(end):
    """LF, CR LF and CR end lines alike, and an event ends with its empty line."""
    body = sse(token("a"), token("b"), FINISH, "[DONE]", end=end)
    facts = by_byte(body, keep_text=True)
    ends = [len(sse(*events, end=end)) for events in ([token("a")], [token("a"), token("b")])]
    assert list(facts.token_ns) == ends
    assert (facts.text, facts.finish_reason, facts.done) == (["a", "b"], "stop", True)


@pytest.mark.parametrize(
    "noise",
    [b": ping\n\n", b":\n\n", b"\n\n\n", b"event: message\nid: 7\nretry: 10\n\n", b"data\n\n", b"database: 1\n\n"],
)
def test_what_is_no_data_is_left_out(noise):
    """Comments, blank lines and other fields are no events."""
    body = noise + sse(token("a")) + noise + sse(FINISH, "[DONE]") + noise
    facts = by_byte(body)
    assert (len(facts.token_ns), facts.n_empty, facts.finish_reason, facts.malformed) == (1, 1, "stop", None)


def test_other_fields_beside_data():
    """An event with a name, an id and a comment is its data."""
    facts = by_byte(b'event: x\nid: 1\n: hm\ndata: {"choices":[{"text":"a"}]}\n\n')
    assert (len(facts.token_ns), facts.malformed) == (1, None)


def test_data_over_several_lines():
    """Several data lines are one event, joined by newlines."""
    facts = by_byte(b'data: {"choices":\ndata: [{"text":"a",\ndata:"finish_reason":"stop"}]}\n\n')
    assert (len(facts.token_ns), facts.finish_reason, facts.malformed) == (1, "stop", None)


def test_null_event():
    """llama.cpp's `data: null` is an event without tokens."""
    facts = by_byte(sse("null", token("a"), FINISH))
    assert (len(facts.token_ns), facts.n_empty, facts.malformed) == (1, 2, None)


def test_byte_order_mark():
    """A byte order mark before the first event is ignored, and counts as bytes of it."""
    facts = by_byte(b"\xef\xbb\xbf" + sse(token("a")))
    assert list(facts.token_ns) == [3 + len(sse(token("a")))]


def test_unicode_line_separators_stay_text():
    """U+2028, U+0085, form feed and friends inside a string end no line."""
    text = "a\u2028b\u0085c\u2029d\x1ce"
    body = b"data: " + json.dumps(token(text), ensure_ascii=False).encode() + b"\n\n" + sse(FINISH)
    for whole in (body, body.replace(b"\n", b"\r\n")):
        assert by_byte(whole, keep_text=True).text == [text]


def test_surrogate_halves_never_leave():
    """Half an emoji in an id, a reason or an error becomes U+FFFD: no file could hold it."""
    facts = by_byte(b'data: {"id":"\\ud83d","choices":[{"text":"\\ude00","finish_reason":"st\\ud800p"}]}\n\n')
    assert (len(facts.token_ns), facts.response_id, facts.finish_reason) == (1, "\ufffd", "st\ufffdp")
    assert clean_text("\ud83d" + "\ude00") == "\U0001f600"


def test_torn_last_event():
    """A last event without its blank line counts if it is whole, and is no error if it is torn."""
    whole = sse(token("a"), FINISH).rstrip(b"\n")
    assert by_byte(whole).finish_reason == "stop"
    for cut in range(1, len(sse(FINISH))):
        facts = by_byte(sse(token("a"), FINISH)[:-cut])
        assert (len(facts.token_ns), facts.malformed, facts.server_error) == (1, None, None)
    assert by_byte(sse(token("a")) + b"data: [DONE]").done
    assert not by_byte(sse(token("a")) + b"data: [DON").done


# whose stamp
def test_stamp_of_the_read_with_the_last_byte():
    """An event is stamped by the read that carried its last byte, however its bytes were split."""
    one, two = sse(token("a")), sse(token("b"))
    body = one + two
    n = len(one)
    assert list(read_stream(body, [n, n + len(two)], [10, 20]).token_ns) == [10, 20]
    assert list(read_stream(body, [n - 1, n + len(two)], [10, 20]).token_ns) == [20, 20]
    assert list(read_stream(body, [n + 1, n + len(two)], [10, 20]).token_ns) == [10, 20]
    assert list(read_stream(body, [0, 0, n, n, len(body)], [1, 2, 3, 4, 5]).token_ns) == [3, 5]


@pytest.mark.parametrize(
    ("reads", "merged"), [([1, 2, 3, 4], 0), ([2, 4], 2), ([1, 4], 1), ([4], 1), ([1, 1, 3, 4], 1), ([3, 4], 1)]
)
def test_merged_reads(reads, merged):
    """A read that brought two or more token-bearing events counts once."""
    n = len(sse(token("a")))
    body = sse(*[token("a")] * 4, FINISH, "[DONE]")
    ends = [n * k for k in reads[:-1]] + [len(body)]
    assert read_stream(body, ends, range(len(ends))).merged_reads == merged


def test_role_only_event_in_the_read_of_the_first_token_is_not_merged():
    """Only tokens are told apart by reads: vLLM's role event beside the first token merges nothing."""
    body = sse({"choices": [{"delta": {"role": "assistant", "content": ""}}]}, token("a"))
    facts = read_stream(body, [len(body)], [7])
    assert (facts.merged_reads, facts.n_empty, list(facts.token_ns)) == (0, 1, [7])


# kinds of token
@pytest.mark.parametrize(
    ("delta", "tokens", "answers"),
    [
        ({"content": "a"}, 1, 1),
        ({"content": ""}, 0, 0),
        ({"content": None}, 0, 0),
        ({}, 0, 0),
        ({"role": "assistant"}, 0, 0),
        ({"reasoning_content": "hm"}, 1, 0),
        ({"reasoning": "hm", "content": ""}, 1, 0),
        ({"reasoning": "", "content": ""}, 0, 0),
        ({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}, 1, 1),
        ({"tool_calls": []}, 0, 0),
        ({"refusal": None, "content": " "}, 1, 1),
    ],
)
def test_what_bears_a_token(delta, tokens, answers):
    """Content, reasoning and tool calls that are not empty are tokens; all but reasoning are the answer."""
    facts = by_byte(sse({"choices": [{"delta": delta}]}))
    assert (len(facts.token_ns), facts.first_answer_ns is not None) == (tokens, bool(answers))


@pytest.mark.parametrize(
    ("usages", "output"),
    [
        ([{"prompt_tokens": 0, "completion_tokens": 0}, {"prompt_tokens": 9, "completion_tokens": 5}], 5),
        ([{"prompt_tokens": 9, "completion_tokens": 1}, {"prompt_tokens": 9, "completion_tokens": 2}], 2),
        ([{"prompt_tokens": 9, "completion_tokens": 5}, {"prompt_tokens": 0, "completion_tokens": 0}], 5),
        ([{"prompt_tokens": 9, "completion_tokens": 5}, {"completion_tokens": -1}], 5),
        ([{"prompt_tokens": 9, "completion_tokens": 5}, {"completion_tokens": True}], 5),
        ([{"prompt_tokens": 9, "completion_tokens": 5}, {"completion_tokens": "6"}], 5),
        ([{"prompt_tokens": 9, "completion_tokens": 5}, {"completion_tokens": 2**31}], 5),
        ([{"prompt_tokens": 9, "completion_tokens": 0}], 0),
        ([{"prompt_tokens": 0, "completion_tokens": 0}], None),
        ([None, [], "usage", 5], None),
    ],
)
def test_which_usage_counts(usages, output):
    """The last usage that counts a token is the usage; zeros and nonsense never take its place."""
    facts = by_byte(sse(*({**token("a"), "usage": usage} for usage in usages)))
    assert (facts.usage["completion_tokens"] if facts.usage else None) == output


@pytest.mark.parametrize(
    ("value", "is_count"), [(0, True), (7, True), (2**31, False), (-1, False), (1.5, False), (1.0, True)]
)
def test_counts(value, is_count):
    """A count is a whole number from 0 to 2^31, and nothing else."""
    assert count(value) == (value if is_count else None)
    assert count(True) is None
    assert count("7") is None


# bytes that no server should send
@pytest.mark.parametrize(
    "payload",
    [
        b"{broken",
        b"\xff\xfe\xfd",
        b"\x00\x01",
        b'"text"',
        b"[1,2]",
        b"12",
        b'{"choices":[{"text":"\xff"}]}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 5000,
    ],
)
def test_malformed_events_are_facts(payload):
    """An event that cannot be read is noted in a short sentence; the events around it count."""
    facts = by_byte(sse(token("a")) + b"data: " + payload + b"\n\n" + sse(token("b"), FINISH))
    assert len(facts.token_ns) == 2
    assert facts.malformed.startswith("an event is not ")
    assert len(facts.malformed) < 400
    assert facts.finish_reason == "stop"


def test_what_counts_as_json_does_not_depend_on_the_parser():
    """NaN and numbers beyond 64 bits are read whether or not orjson is installed."""
    facts = by_byte(b'data: {"created":NaN,"n":' + b"9" * 100 + b',"choices":[{"text":"a"}]}\n\n')
    assert (len(facts.token_ns), facts.malformed) == (1, None)


DEEP = b"[" * 900 + b"]" * 900


@pytest.mark.parametrize(
    "body",
    [
        b'data: {"id":"a","choices":[{"delta":{"content":%s}}]}\n\n' % DEEP,
        b'data: {"id":"a","choices":[{"delta":{},"error":%s}]}\n\n' % DEEP,
        b'data: {"error":%s}\n\n' % DEEP,
        b"event: error\ndata: %s\n\n" % (b"[" * 1023 + b"]" * 1023),
        b"{x}\n\n" * 1000,
        b"<style>" * 1000,
    ],
    ids=["parts", "error of a choice", "error", "event: error", "unread", "tags"],
)
def test_what_is_deep_or_long_is_a_fact(body):
    """Parts within parts, deep errors and much that is no event give facts, and its beginning alone is kept."""
    facts = by_byte(body, keep_text=True)
    assert len(facts.unread) <= 80 + len("''")
    assert facts.token_ns == by_byte(body).token_ns


COUNTS = ["completion_tokens", "prompt_tokens", "prompt_tokens_details", "cached_tokens"]
TEXTS = ["content", "text", "reasoning", "tool_calls", "id", "finish_reason", "x"]
KEYS = ["choices", "delta", "message", "usage", "error", *TEXTS, *COUNTS]
SCRAPS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(SCRAPS, max_size=4))
@example([{"choices": {"delta": 1}}, {"choices": [{"delta": "a"}]}, {"usage": [1]}, {"id": 5}])
@example([{"error": [[]]}, {"choices": [{"finish_reason": 5, "message": {"content": [1]}}]}])
def test_wrong_types_anywhere(scraps):
    """JSON of any shape gives facts, never an exception; every text in them fits into UTF-8."""
    for facts in (by_byte(sse(*scraps), keep_text=True), read_whole(json.dumps(scraps).encode(), keep_text=True)):
        json.dumps([facts.server_error, facts.malformed, facts.response_id], ensure_ascii=False).encode()
        assert facts.finish_reason is None or isinstance(facts.finish_reason, str)
        assert facts.usage is None or isinstance(facts.usage, dict)


@given(st.binary(max_size=300), st.integers(0, 300))
@example(b"data:\n\n", 3)
@example(b"\r\r\n\n\r", 1)
def test_any_bytes(body, at):
    """Bytes of any kind give facts, never an exception."""
    split = min(at, len(body))
    read_stream(body, [split, len(body)], [1, 2], keep_text=True)
    read_whole(body, keep_text=True)
    error_message(body)


@given(st.data())
@pytest.mark.parametrize("name", ["vllm_chat_stream", "ollama_chat_stream_thinking", "llamacpp_utf8_stream_body"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_any_split_gives_the_same_facts(name, end, data):
    """However a stream is split into reads, also inside a character, only its stamps and merged reads differ."""
    body = capture(name).replace(b"\n", end)
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=30).map(sorted))
    ends = [*cuts, len(body)]
    stamps = range(100, 100 + len(ends))
    split, whole = read_stream(body, ends, stamps, keep_text=True), by_byte(body, keep_text=True)
    # the stamp is that of the first read whose end is at or behind the event's end
    expected = [next(s for s, e in zip(stamps, ends, strict=True) if e >= at) for at in whole.token_ns]
    assert list(split.token_ns) == expected
    differ = ("token_ns", "first_answer_ns", "merged_reads")
    same = [{k: v for k, v in asdict(f).items() if k not in differ} for f in (split, whole)]
    assert same[0] == same[1]


@pytest.mark.parametrize(
    "body",
    [
        b"\n" * 300_000, b"\r" * 300_000, b"a\r" * 200_000, b"a\n" * 200_000, b"\r\n" * 200_000,
        b"data: {}\n\n" * 30_000,
        b"data: " + b"a" * 300_000, b"data: " + b"a" * 300_000 + b"\n\ndata: b\n\n", b"data: a\r\n\r\n" * 30_000,
        b":\n" * 99_999,
    ],
    ids=range(10),
)  # fmt: skip
@pytest.mark.parametrize("ndjson", [False, True])
def test_pieces_of_a_stream(body, ndjson):
    """The pieces are the body; each ends at a line's end, and is of bounded length unless one line is longer."""
    found = list(pieces(body, ndjson=ndjson))
    assert b"".join(piece for _, piece in found) == body
    assert [start for start, _ in found[1:]] == [start + len(piece) for start, piece in found[:-1]]
    longest = max(len(line) for line in body.splitlines(keepends=True))
    assert max(len(piece) for _, piece in found) <= most("event_lines_bytes") + longest + 4 or ndjson
    assert all(piece.endswith((b"\n", b"\r")) for _, piece in found[:-1])


class Counted(bytes):
    """Bytes that count those that are searched or copied of them."""

    work = 0

    def find(self, mark, start, stop=None):
        found = bytes.find(self, mark, start, len(self) if stop is None else stop)
        self.work += (found if found >= 0 else min(len(self), stop or len(self))) - start
        return found

    def __getitem__(self, part):
        self.work += len(copied := bytes.__getitem__(self, part))
        return copied


class CountedRegex:
    """A regular expression that counts what it is run over, at the price of 70 times a plain search."""

    def __init__(self, regex):
        self._regex = regex

    def search(self, body, start, stop):
        found = self._regex.search(body, start, stop)
        body.work += 70 * ((found.end() if found else stop) - start)
        return found

    def match(self, body, start):
        return self._regex.match(body, start)


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\r\r", ""], ids=repr)
@pytest.mark.parametrize(
    "body",
    [b"data: %s", b": %s", b"event: %s", b"%s", b'data: {}\n\ndata: {"id":"%s"}', b"\rdata: %s", b"\ndata: %s\r\n"],
)
def test_a_very_long_line_is_no_work(monkeypatch, body, end):
    """It is searched for its end by what is fast, once, whatever line ends are about, and copied up to the limit."""
    monkeypatch.setattr(stream, "_LINE_ENDS", CountedRegex(stream._LINE_ENDS))
    monkeypatch.setattr(stream, "_BLANK_LINE", CountedRegex(stream._BLANK_LINE))
    far = most("event_lines_bytes")
    body = Counted(body % (b"a" * 20_000_000) + end.encode())
    found = list(pieces(body, longest=100_000))
    assert max(len(piece) for _, piece in found) <= far + 100_000 + 80
    assert body.work < 4 * len(body)
    assert b"".join(piece for _, piece in found).endswith(end.encode())


@pytest.mark.parametrize("line", [b"data: a\n", b"data: a\r", b"data: a\r\n", b"a\n", b"a\r", b"a\r\n"])
@pytest.mark.parametrize("rest", [b"", b"\r", b"\n", b"\r\n\r\n"])
def test_very_many_lines_are_no_work(monkeypatch, line, rest):
    """An end that is far away, or nowhere, is not sought again for each piece."""
    monkeypatch.setattr(stream, "_LINE_ENDS", CountedRegex(stream._LINE_ENDS))
    body = Counted(rest + line * (20_000_000 // len(line)) + rest)
    assert b"".join(piece for _, piece in pieces(body)) == body
    assert body.work < 4 * len(body)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_one_error_is_enough(monkeypatch, end):
    """Thousands of lines of errors are one: the first is made JSON and read, the others are passed over."""
    made, as_error = [], stream._as_error
    monkeypatch.setattr(stream, "_as_error", lambda payload: made.append(payload) or as_error(payload))
    facts = read_stream("".join(f"error: x{i}{end}" for i in range(5000)).encode(), [50_000], [1])
    assert (facts.server_error, made) == ("x0", [b"x0"])


BEYOND = {
    "one text": (b'{"id":"' + b"a" * 9_000_000 + b'"}', "JSON of more than 8388608 bytes (response.event_mib)"),
    "values": (b"[" + b"1," * 300_000 + b"1]", "JSON of more than 250000 values (response.event_values)"),
    "escapes": (b'{"id":"' + b"\\n" * 300_000 + b'"}', "JSON of more than 250000 values (response.event_values)"),
}


@pytest.mark.parametrize("name", BEYOND)
def test_a_json_text_beyond_its_limits(name):
    """It is not read, and the row's error names the flag: of an event and of a whole response."""
    payload, message = BEYOND[name]
    assert read_stream(b"data: " + payload + b"\n\n", [10**8], [1]).malformed == message
    assert read_whole(payload).malformed == message
