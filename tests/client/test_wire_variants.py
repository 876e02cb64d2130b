"""What servers and gateways put into their answers: each variant over a real socket, and the row that it must give.

`sdk`: what the openai SDK makes of a variant that we do not take as it does, and why ours is right. Framing (chunks,
lengths, encodings, closes) has a table of its own.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from raw_server import chunked, event, row_over_socket, whole

from benchsuite.records import RequestRecord


class Variant(NamedTuple):
    """A response, the fields of its row, and where it differs what the openai SDK does with it."""

    response: bytes
    row: dict[str, Any]
    sdk: str = ""
    close: bool = False


def chunk(delta: Any, finish: Any = None, **choice: Any) -> dict[str, Any]:
    return {"id": "a", "choices": [{"index": 0, "delta": delta, "finish_reason": finish, **choice}]}


def tokens(n: int, key: str = "content") -> list[dict[str, Any]]:
    return [chunk({key: f"w{i} "}) for i in range(n)]


def usage(prompt: int | None = 20, completion: int | None = 4, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, **more}


def stream(*events: Any, **how: Any) -> bytes:
    return chunked(*(event(one) for one in events), **how)


ROLE, STOP, DONE = chunk({"role": "assistant", "content": ""}), chunk({}, "stop"), "[DONE]"
COUNTED = {"choices": [], "usage": usage()}
TEXT = tokens(4)
OK = {
    "status": "ok",
    "n_chunks": 4,
    "output_tokens": 4,
    "token_source": "usage",
    "finish_reason": "stop",
    "notes": None,
}
BY_CHUNKS = OK | {"token_source": "chunks"}


def ends(reason: Any, **choice: Any) -> bytes:
    return stream(ROLE, *TEXT, chunk({}, reason, **choice), COUNTED, DONE)


def ended(reason: str, notes: str | None = None) -> dict[str, Any]:
    return OK | {"finish_reason": reason, "notes": notes}


def failed(*words: str, **row: Any) -> dict[str, Any]:
    return {"status": "stream_error", "error": words, **row}


HANDED_ON = "hands the word on and raises nothing; an answer that the engine gave up is no answer to be timed"
SILENT = "yields no chunk and raises nothing; nothing came, and the server said why"
QUOTA = "the quota of this key is used up"

FINISH = {
    **{f"ends: {word}": Variant(ends(word), ended(word)) for word in (
        "length", "tool_calls", "function_call", "content_filter", "eos_token", "stop_sequence", "eos", "max_tokens",
        "end_turn", "MAX_TOKENS", "STOP", "model_length", "refusal", "FINISH_REASON_STOP", "tool-calls", "eosToken",
        "context_length_exceeded", "PROHIBITED_CONTENT",
    )},
    **{f"fails: {word}": Variant(ends(word), failed(repr(word), finish_reason=word), HANDED_ON) for word in (
        "abort", "error", "cancelled", "timeout", "network_error", "insufficient_system_resource", "ERROR_LIMIT",
        "deadline_exceeded", "rate_limit", "preempted", "engine_dead", "not_finished", "broken_pipe", "oom",
        "MALFORMED_FUNCTION_CALL", "shutdown",
    )},
    "fails: SGLang's object": Variant(ends({"type": "abort", "message": "m"}), failed("'abort'"), HANDED_ON),
    "fails: native reason": Variant(
        ends("stop", native_finish_reason="network_error"), failed("'network_error'", finish_reason="stop"), HANDED_ON),
    "native reason of another name": Variant(ends("stop", native_finish_reason="end_turn"), OK),
    "unknown word": Variant(ends("banana"), ended("banana", "finish_reason_unknown")),
    "in the delta": Variant(stream(*TEXT, chunk({"finish_reason": "stop"}), COUNTED, DONE), OK),
    "finishReason": Variant(stream(*TEXT, chunk({}, finishReason="stop"), COUNTED, DONE), OK),
    "null as a text": Variant(stream(*(chunk({"content": "a"}, "null") for _ in range(4)), STOP, COUNTED, DONE), OK),
    "none, with [DONE], text and usage": Variant(
        stream(*TEXT, COUNTED, DONE), OK | {"finish_reason": None, "notes": "finish_reason_missing"}),
    "none, with [DONE] and text": Variant(
        stream(*TEXT, DONE), {"status": "truncated", "error": ("with [DONE] but without a finish_reason",)},
        "takes any end for an end; without a reason and without counts nothing tells a whole answer from a cut one"),
    "none, without [DONE]": Variant(
        stream(*TEXT, COUNTED), {"status": "truncated", "error": ("ended without a finish_reason",)},
        "takes any end for an end; a proxy that lost its server ends a stream like this"),
    "none, whole JSON": Variant(
        whole({"id": "a", "choices": [{"message": {"content": "hi"}}], "usage": usage()}),
        {"status": "ok", "output_tokens": 4, "n_chunks": 0, "notes": "finish_reason_missing"}),
}  # fmt: skip


def last(**more: Any) -> bytes:
    """Four tokens, and a last event with what is given."""
    return stream(ROLE, *TEXT, chunk({}, "stop") | more, DONE)


def counted(body: Any) -> bytes:
    return stream(ROLE, *TEXT, STOP, {"choices": [], "usage": body}, DONE)


USAGE = {
    "with the finish": Variant(last(usage=usage()), OK | {"input_tokens": 20}),
    "on every chunk": Variant(
        stream(*({**one, "usage": usage(20, i + 1)} for i, one in enumerate(TEXT)), STOP, COUNTED, DONE), OK),
    "null on every chunk": Variant(stream(*({**one, "usage": None} for one in TEXT), STOP, COUNTED, DONE), OK),
    "zeros, then the truth": Variant(
        stream(*({**one, "usage": usage(0, 0)} for one in TEXT), STOP, COUNTED, DONE), OK | {"input_tokens": 20}),
    "in the choice": Variant(stream(ROLE, *TEXT, chunk({}, "stop", usage=usage()), DONE), OK | {"input_tokens": 20}),
    "in the delta": Variant(stream(ROLE, *TEXT, chunk({"usage": usage()}, "stop"), DONE), OK | {"input_tokens": 20}),
    "in x_groq": Variant(last(x_groq={"id": "r", "usage": usage()}), OK | {"input_tokens": 20}),
    "in the message": Variant(
        whole({"id": "a", "choices": [{"message": {"content": "hi", "usage": usage()}, "finish_reason": "stop"}]}),
        {"status": "ok", "output_tokens": 4, "input_tokens": 20, "token_source": "usage"}),
    "usageMetadata": Variant(
        last(usageMetadata={"promptTokenCount": 20, "candidatesTokenCount": 4, "thoughtsTokenCount": 6,
                            "totalTokenCount": 30}),
        OK | {"output_tokens": 10, "reasoning_tokens": 6, "notes": "usage_without_reasoning"}),
    "input_tokens, output_tokens": Variant(
        counted({"input_tokens": 20, "output_tokens": 4, "output_tokens_details": {"reasoning_tokens": 3},
                 "input_tokens_details": {"cached_tokens": 16}}),
        OK | {"input_tokens": 20, "reasoning_tokens": 3, "cached_tokens": 16}),
    "prompt_cache_hit_tokens": Variant(
        counted(usage(prompt_cache_hit_tokens=16, prompt_cache_miss_tokens=4)), OK | {"cached_tokens": 16}),
    "cached_tokens beside": Variant(counted(usage(cached_tokens=16)), OK | {"cached_tokens": 16}),
    "cached_tokens in the details": Variant(
        counted(usage(prompt_tokens_details={"cached_tokens": 16})), OK | {"cached_tokens": 16}),
    "cache_read_input_tokens": Variant(counted(usage(cache_read_input_tokens=16)), OK | {"cached_tokens": 16}),
    "reasoning_tokens beside": Variant(counted(usage(reasoning_tokens=3)), OK | {"reasoning_tokens": 3}),
    "reasoning outside of completion_tokens": Variant(
        stream(*tokens(3, "reasoning_content"), tokens(1)[0], STOP,
               {"choices": [], "usage": usage(20, 1, total_tokens=24,
                                              completion_tokens_details={"reasoning_tokens": 3})}, DONE),
        OK | {"reasoning_tokens": 3, "notes": "usage_without_reasoning"}),
    "reasoning that is more than completion_tokens": Variant(
        counted(usage(20, 4, completion_tokens_details={"reasoning_tokens": 30})),
        OK | {"output_tokens": 34, "notes": "usage_without_reasoning"}),
    "promptTokens, completionTokens": Variant(counted({"promptTokens": 20, "completionTokens": 4}), OK),
    "a total that is less": Variant(counted(usage(20, 4, total_tokens=20)), OK),
    "0 beside chunks": Variant(counted(usage(20, 0)), BY_CHUNKS | {"input_tokens": 20, "notes": "usage_below_chunks"}),
    "fewer than chunks": Variant(counted(usage(20, 3)), BY_CHUNKS | {"notes": "usage_below_chunks"}),
    "a total alone": Variant(counted({"total_tokens": 24, "prompt_tokens": 20}), OK),
    "none": Variant(stream(ROLE, *TEXT, STOP, DONE), BY_CHUNKS | {"input_tokens": None}),
    "more than no chunk": Variant(
        stream(ROLE, chunk({"whatever": "a"}), STOP, COUNTED, DONE),
        OK | {"n_chunks": 0, "notes": "tokens_without_chunks"}),
    "an empty answer, its end counted": Variant(
        stream(ROLE, STOP, {"choices": [], "usage": usage(20, 1)}, DONE), OK | {"n_chunks": 0, "output_tokens": 1}),
    "an empty answer without usage": Variant(stream(ROLE, STOP, DONE), BY_CHUNKS | {"n_chunks": 0, "output_tokens": 0}),
}  # fmt: skip

SAID = {"object": "error", "message": QUOTA, "code": 429}
HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>"
ERRORS = {
    "an error event": Variant(stream(*TEXT, {"error": {"message": QUOTA}}, DONE), failed(QUOTA, n_chunks=4)),
    "an error as a text": Variant(stream({"error": QUOTA}), failed(QUOTA)),
    "an error: line": Variant(
        chunked(event(TEXT[0]), b'error: {"code":400,"message":"too long","type":"invalid"}\n\n', event(DONE)),
        failed("too long"), SILENT),
    "an error: line of text": Variant(chunked(b"error: out of slots\n\n"), failed("out of slots"), SILENT),
    "event: error": Variant(chunked(b'event: error\ndata: {"message":"overloaded"}\n\n'), failed("overloaded")),
    "event: error, text": Variant(chunked(b"event: error\ndata: engine died\n\n"), failed("engine died")),
    "type: error": Variant(
        stream({"type": "error", "error": {"type": "overloaded", "message": "Overloaded"}}), failed("Overloaded")),
    "object: error": Variant(stream(SAID, DONE), failed(QUOTA), SILENT),
    "object: error after tokens": Variant(stream(*TEXT, SAID, DONE), failed(QUOTA), SILENT),
    "code and msg": Variant(whole({"code": 1211, "msg": QUOTA, "success": False}), failed(QUOTA), SILENT),
    "code and msg in the stream": Variant(stream(*TEXT, {"code": 1211, "msg": QUOTA}, DONE), failed(QUOTA), SILENT),
    "MiniMax's base_resp": Variant(
        stream(*TEXT, {"id": "a", "choices": None, "base_resp": {"status_code": 1002, "status_msg": QUOTA}}),
        failed(QUOTA), SILENT),
    "MiniMax's base_resp of success": Variant(
        last(usage=usage(), base_resp={"status_code": 0, "status_msg": "success"}), OK),
    "no event of ours is quoted": Variant(  # Cloudflare's own
        stream(*[{"response": "w"}] * 4, DONE), {"status": "truncated", "error": ("with [DONE]", '{"response"')},
        SILENT),
    "detail": Variant(whole({"detail": "no such model"}), failed("no such model"), SILENT),
    "errors": Variant(whole({"errors": [{"message": QUOTA}]}), failed(QUOTA), SILENT),
    "a list of an error": Variant(whole([{"error": {"code": 429, "message": QUOTA}}]), failed(QUOTA), SILENT),
    "in the choice": Variant(
        stream(*TEXT, chunk({"content": ""}, "error", error={"code": 502, "message": "upstream is gone"})),
        failed("upstream is gone")),
    "beside the choices": Variant(
        stream(*TEXT, chunk({"content": ""}, "error") | {"error": {"message": "upstream is gone"}}),
        failed("upstream is gone")),
    "bare JSON in the stream": Variant(
        chunked(event(TEXT[0]), b'{"error": {"message": "worker died"}}\n\n'), failed("worker died"), SILENT),
    "bare JSON over lines": Variant(
        chunked(event(TEXT[0]), b'{\n  "error": {\n    "message": "worker died"\n  }\n}\n'), failed("worker died"),
        SILENT),
    "one newline before [DONE]": Variant(
        chunked(b'data: {"error": {"message": "worker died"}}\ndata: [DONE]\n\n'), failed("worker died"),
        "raises its own JSONDecodeError, and the server's words are lost in it"),
    "a page of HTML": Variant(whole(HTML, "text/html"), failed("text/html", "Sign in"), SILENT),
    "text": Variant(whole(b"Service overloaded", "text/plain"), failed("text/plain", "Service overloaded"), SILENT),
    "JSON of something else": Variant(whole({"status": "loading"}), failed("application/json", "loading"), SILENT),
    "words before the connection is cut": Variant(
        event({"message": QUOTA}).join((chunked(b"\n")[:-5] + b"%x\r\n" % len(event({"message": QUOTA})), b"\r\n")),
        failed(QUOTA), "raises the cut alone", close=True),
    "what is not read is quoted": Variant(
        chunked(event(TEXT[0]), b"DATA: {}\n\n", event(DONE)),
        {"status": "truncated", "error": ("with [DONE]", "DATA: {}")}, SILENT),
    "no [DONE] that was not sent": Variant(
        whole({"id": "a", "choices": [{"message": {"content": ""}}]}),
        {"status": "truncated", "error": ("the response ended without a finish_reason",)}),
    "an HTTP error of HTML": Variant(
        whole(b"<html><head><title>502 Bad Gateway</title></head></html>", "text/html", "502 Bad Gateway"),
        {"status": "http_error", "error": ("HTTP 502: 502 Bad Gateway",)}),
    **{f"an HTTP error with {next(iter(body))}": Variant(
        whole(body, status="400 Bad Request"), {"status": "http_error", "error": (f"HTTP 400: {QUOTA}",)})
       for body in ({"Message": QUOTA, "Type": "x"}, {"title": QUOTA, "status": 400}, {"error_description": QUOTA},
                    {"fault": {"detail": {"errorcode": "x"}, "faultstring": QUOTA}})},
    "an HTTP error as an event": Variant(
        whole(event({"error": {"message": QUOTA}}), "text/event-stream", "400 Bad"),
        {"status": "http_error", "error": (f"HTTP 400: {QUOTA}",)}),
    "an HTTP error with msg": Variant(
        whole({"code": 1, "msg": QUOTA}, status="429 Too Many"), {"status": "http_error", "error": (QUOTA,)}),
}  # fmt: skip

PLAIN = b"".join(map(event, (ROLE, *TEXT, STOP, COUNTED, DONE)))
SPELLINGS = {
    "no blank after data:": Variant(chunked(PLAIN.replace(b"data: ", b"data:")), OK),
    "CR LF": Variant(chunked(PLAIN.replace(b"\n", b"\r\n")), OK),
    "CR": Variant(chunked(PLAIN.replace(b"\n", b"\r")), OK),
    "a byte order mark": Variant(chunked(b"\xef\xbb\xbf" + PLAIN), OK),
    "comments between": Variant(chunked(PLAIN.replace(b"data: ", b": ping\n\ndata: ")), OK),
    **{f"kept alive by {ping!r}": Variant(
        chunked(event(TEXT[0]), ping, *map(event, (*TEXT[1:], STOP, COUNTED, DONE))), OK,
        "raises JSONDecodeError; such an event says that the server lives, and nothing of the answer")
       for ping in (b"data: ping\n\n", b"data: [HEARTBEAT]\n\n", b"data: : keep-alive\n\n", b"event: ping\ndata: \n\n",
                    b"event: heartbeat\ndata: 2025-01-01 10:00:00\n\n", b"event: ping\ndata: {}\n\n")},
    "event, id and retry": Variant(chunked(PLAIN.replace(b"data: ", b"event: message\nid: 7\nretry: 10\ndata: ")), OK),
    "blanks at the end of lines": Variant(chunked(PLAIN.replace(b"\n\n", b"  \n\n")), OK),
    "one newline between": Variant(
        chunked(PLAIN.replace(b"\n\n", b"\n")), OK | {"notes": "events_not_separated"},
        "joins all to one event and raises JSONDecodeError; each line is a whole object"),
    "an object over several lines": Variant(
        chunked(b"".join(b"data: " + b"\ndata: ".join(json.dumps(one, indent=1).encode().splitlines()) + b"\n\n"
                         for one in (*TEXT, STOP, COUNTED))), OK),
    "lines of JSON without data:": Variant(chunked(PLAIN.replace(b"data: {", b"{")), OK, SILENT),
    "lines of JSON": Variant(
        chunked(PLAIN.replace(b"data: {", b"{").replace(b"\n\n", b"\n")), OK | {"notes": "events_not_separated"},
        SILENT),
    **{f"end mark {mark!r}": Variant(stream(*TEXT, COUNTED, mark), OK | {
        "finish_reason": None, "notes": "finish_reason_missing"}, sdk="reads [DONE] alone as the end, else raises")
       for mark in ("[DONE] ", '"[DONE]"', "DONE", "[done]", " [DONE]")},
    "characters of several bytes": Variant(
        stream(*(json.dumps(chunk({"content": "灯塔在海边😀"}), ensure_ascii=False) for _ in range(4)), STOP, COUNTED),
        OK | {"text": "灯塔在海边😀" * 4}),
    "no end mark": Variant(stream(*TEXT, STOP, COUNTED), OK),
    "text behind the finish": Variant(
        stream(*TEXT, STOP, COUNTED, "bye"), OK | {"notes": "not_json_after_end"}, "raises JSONDecodeError"),
    "text before the finish": Variant(
        stream(*TEXT, "oops", STOP, COUNTED), failed("oops"), "raises JSONDecodeError too"),
}  # fmt: skip

THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}


def kinds(*deltas: Any, **row: Any) -> Variant:
    """Four tokens in these deltas; row: with what they are."""
    return Variant(stream(*(chunk(delta) for delta in deltas), STOP, COUNTED, DONE), OK | row)


CONTENT = {
    "parts: thinking, then text": kinds(
        {"content": [THOUGHT]}, {"content": [THOUGHT]}, {"content": [{"type": "text", "text": "a"}]}, {"content": "b"},
        reasoning_tokens=2, text="ab"),
    "parts: text": kinds(*[{"content": [{"type": "text", "text": "a"}]}] * 4, reasoning_tokens=None, text="aaaa"),
    "parts: one object": kinds(*[{"content": {"type": "text", "text": "a"}}] * 4, reasoning_tokens=None, text="aaaa"),
    "parts: empty": kinds({"content": [{"type": "text", "text": ""}]}, *[{"content": "a"}] * 4, reasoning_tokens=None),
    "refusal": kinds(*[{"content": None, "refusal": "no"}] * 4, reasoning_tokens=None, text="nononono"),
    "function_call": kinds({"function_call": {"name": "f", "arguments": ""}},
                           *[{"function_call": {"arguments": "1"}}] * 3, reasoning_tokens=None),
    "tool_calls": kinds(*[{"tool_calls": [{"index": 0, "function": {"arguments": "1"}}]}] * 4, reasoning_tokens=None),
    "tool_calls, and an empty piece": kinds(
        {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]},
        *[{"tool_calls": [{"index": 0, "function": {"arguments": "1"}}]}] * 3,
        {"tool_calls": [{"index": 0, "function": {"arguments": ""}}]}, reasoning_tokens=None),
    "all of the answer once more": Variant(
        stream(*TEXT, {"id": "a", "choices": [{"finish_reason": "stop", "message": {"content": "w0 w1 w2 w3"}}]}
               | {"usage": usage()}), OK, "has no such field of a chunk: it leaves the message out"),
    "audio transcript": kinds(*[{"audio": {"id": "x", "transcript": "hi"}}] * 4, reasoning_tokens=None),
    **{f"thoughts in {key}": kinds(*[{key: "hm"}] * 3, {"content": "a"}, reasoning_tokens=3, text="a")
       for key in ("reasoning", "reasoning_content", "thinking", "thought", "reasoning_text")},
    "thoughts in reasoning_details": kinds(
        *[{"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}] * 3, {"content": "a"},
        reasoning_tokens=3, text="a"),
    "text of the choice": Variant(
        stream(*({"id": "a", "choices": [{"delta": {}, "text": "a"}]} for _ in range(4)), STOP, COUNTED),
        OK | {"text": "aaaa"}),
    "text completions": Variant(
        stream(*({"id": "a", "choices": [{"text": "a", "finish_reason": None}]} for _ in range(4)),
               {"id": "a", "choices": [{"text": "", "finish_reason": "stop"}]}, COUNTED), OK | {"text": "aaaa"}),
    "<think> tags stay text": kinds(
        {"content": "<think>"}, {"content": "hm"}, {"content": "</think>"}, {"content": "a"},
        reasoning_tokens=None, text="<think>hm</think>a"),
    "a thinker that counts its thoughts": Variant(
        stream(*tokens(3, "reasoning_content"), chunk({"content": "a"}), STOP,
               {"choices": [], "usage": usage(20, 8, completion_tokens_details={"reasoning_tokens": 7})}, DONE),
        OK | {"output_tokens": 8, "reasoning_tokens": 7}),
}  # fmt: skip

WIRE_VARIANTS = {
    f"{kind}: {name}": variant
    for kind, variants in {
        "finish": FINISH, "usage": USAGE, "errors": ERRORS, "SSE": SPELLINGS, "content": CONTENT,
    }.items()
    for name, variant in variants.items()
}  # fmt: skip


def check(row: RequestRecord, expected: dict[str, Any]) -> None:
    wanted = dict(expected)
    words = wanted.pop("error", ())
    assert {name: getattr(row, name) for name in wanted} == wanted
    assert (row.error is None) == (row.status == "ok")
    for word in words:
        assert word in row.error
    assert row.error is None or "[DONE]" not in row.error or "with [DONE]" in str(words)


@pytest.mark.parametrize("name", WIRE_VARIANTS)
async def test_wire_variants(name: str) -> None:
    """Each way in which servers say something gives the row that it means, read whole and read by pieces alike."""
    variant = WIRE_VARIANTS[name]
    keep_text = "text" in variant.row
    row = await row_over_socket(variant.response, close=variant.close, keep_text=keep_text)
    check(row, variant.row)
    head, _, body = variant.response.partition(b"\r\n\r\n")
    pieces = [body[i : i + 97] for i in range(0, len(body), 97)]
    again = await row_over_socket(head + b"\r\n\r\n", *pieces, close=variant.close, keep_text=keep_text)
    check(again, variant.row)


@pytest.mark.parametrize("body", [PLAIN, event({"error": {"message": QUOTA}})], ids=["answer", "error"])
async def test_a_stream_that_was_not_asked_for(body: bytes):
    """Where one JSON object was asked for and a stream comes, it is read as such, and so are its errors."""
    row = await row_over_socket(chunked(body), streaming=False)
    check(row, OK if body is PLAIN else failed(QUOTA))


def test_there_are_enough():
    """At least sixty variants, and where another client reads what we refuse, or refuses what we read, a word on it."""
    assert len(WIRE_VARIANTS) >= 60
