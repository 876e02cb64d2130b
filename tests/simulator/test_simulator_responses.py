"""The simulator's bytes, seen through a plain socket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from simulator_fixture import CHAT, COMPLETIONS, Client, chat, events, plain

from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.simulator.responses import ResponseShape, SimResponse, plan
from benchsuite.simulator.server import RunningSimulator, simulator


@pytest.fixture(scope="module")
def sim() -> Iterator[RunningSimulator]:
    with simulator(SimulatorConfig(max_model_len=100, reject_fields=("min_tokens",))) as running:
        yield running


def body_of(running: RunningSimulator, path: str = CHAT, /, **fields: Any) -> bytes:
    with Client(running) as client:
        status, _, body = client.ask(path, chat(**fields) if path == CHAT else fields)
    assert status == 200
    return body


def chunk(delta: str, finish: str = "null") -> str:
    return (
        'data: {"id":"ID","object":"chat.completion.chunk","created":0,"model":"simulator","choices":[{"index":0,'
        f'"delta":{delta},"logprobs":null,"finish_reason":{finish}}}],"system_fingerprint":"STAMP"}}\n\n'
    )


def test_chat_stream_bytes(sim: RunningSimulator):
    """The default is vLLM's form: role event, one event per token, finish on the last, usage as asked, [DONE]."""
    expected = (
        chunk('{"role":"assistant","content":""}')
        + chunk('{"content":" tok"}')
        + chunk('{"content":" tok"}', '"length"')
        + 'data: {"id":"ID","object":"chat.completion.chunk","created":0,"model":"simulator","choices":[],'
        '"usage":{"prompt_tokens":2,"total_tokens":4,"completion_tokens":2},"system_fingerprint":"STAMP"}\n\n'
        "data: [DONE]\n\n"
    )

    assert plain(body_of(sim, tokens=2, stream_options={"include_usage": True})) == expected


def test_completion_stream_bytes(sim: RunningSimulator):
    """No role event, `text` instead of a delta, and no usage that was not asked for."""
    body = plain(body_of(sim, COMPLETIONS, prompt="a b c", max_tokens=1, stream=True))

    assert body == (
        'data: {"id":"ID","object":"text_completion","created":0,"model":"simulator","choices":[{"index":0,'
        '"text":" tok","logprobs":null,"finish_reason":"length"}],"system_fingerprint":"STAMP"}\n\ndata: [DONE]\n\n'
    )


def test_whole_answers(sim: RunningSimulator):
    """Without stream: one JSON body with all tokens and the usage, on both routes."""
    answer = events(b"data: " + body_of(sim, tokens=3, stream=False))[0]
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": " tok tok tok"}
    assert answer["usage"] == {"prompt_tokens": 2, "total_tokens": 5, "completion_tokens": 3}
    answer = events(b"data: " + body_of(sim, COMPLETIONS, prompt=[5, 6, 7], max_tokens=2))[0]
    assert (answer["choices"][0]["text"], answer["usage"]["prompt_tokens"]) == (" tok tok", 3)


def test_stamps_lie_between_request_and_receipt(sim: RunningSimulator):
    """The id holds when the request was read, every event when it was sent, on this machine's CLOCK_MONOTONIC."""
    from benchsuite.clock import now_ns

    before = now_ns()
    got = events(body_of(sim, tokens=3))
    after = now_ns()

    received = int(got[0]["id"].rsplit("-", 1)[1])
    sent = [int(event["system_fingerprint"]) for event in got[:-1]]
    assert [before, received, *sent, after] == sorted([before, received, *sent, after])
    assert sent[0] == sent[1]  # the role event shares the first token's write


def test_tokens_per_chunk_and_reasoning(sim: RunningSimulator):
    """7 tokens, 3 of them reasoning, 2 per chunk: 2, 1 of reasoning, then 2, 2; usage tells them apart."""
    options = {"tokens_per_chunk": 2, "reasoning_tokens": 3, "reasoning_field": "reasoning", "role": "none"}
    got = events(body_of(sim, tokens=7, sim=options, stream_options={"include_usage": True}))

    deltas = [event["choices"][0]["delta"] for event in got[:-2]]
    assert deltas == [
        {"reasoning": " tok tok"},
        {"reasoning": " tok"},
        {"content": " tok tok"},
        {"content": " tok tok"},
    ]
    assert got[-2]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 3}


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("separate", [None, None, None, 2]),
        ("finish", [None, None, 2]),
        ("every", [None, 1, 2, 2]),
        ("none", [None] * 3),
    ],
)
def test_usage_placement(sim: RunningSimulator, place: str, expected: list[int | None]):
    """Where the output tokens are told; the first event is the role's."""
    got = events(body_of(sim, tokens=2, sim={"usage": place}, stream_options={"include_usage": True}))[:-1]

    assert [event.get("usage", {}).get("completion_tokens") for event in got] == expected


def test_crlf_comments_and_no_done(sim: RunningSimulator):
    """CRLF ends every line, a comment goes before every second chunk, and [DONE] is left out."""
    body = body_of(sim, tokens=4, sim={"crlf": True, "comment_every": 2, "done": False, "role": "none"})

    assert body.count(b"\r\n\r\n") == body.count(b"\n\r\n") == 6
    assert body.count(b": ping\r\n\r\n") == 2
    assert b"[DONE]" not in body


def test_split_writes_keep_the_bytes(sim: RunningSimulator):
    """Pieces of 7 bytes make the same stream."""
    assert plain(body_of(sim, tokens=3, sim={"split_bytes": 7})) == plain(body_of(sim, tokens=3))


def test_joined_events_make_fewer_writes(sim: RunningSimulator):
    """5 events, 2 per write: the same events with three stamps."""
    got = events(body_of(sim, tokens=5, sim={"events_per_write": 2, "role": "none"}))[:-1]

    stamps = [event["system_fingerprint"] for event in got]
    assert len(got) == 5
    assert stamps[0] == stamps[1] < stamps[2] == stamps[3] < stamps[4]


def test_early_role_event_is_a_write_of_its_own():
    """The role event is due role_first_s after the request and waits for no step."""
    shape = ResponseShape(role="early", role_first_s=0.25)
    writes = plan(SimResponse(True, True, "m", 1, 0, 5, "length", False, shape)).writes

    assert [(w.at_s, w.steps, w.repeat) for w in writes] == [
        (0.0, 0, 1), (0.25, 0, 1), (None, 1, 1), (None, 1, 3), (None, 1, 1), (None, 0, 1)
    ]  # fmt: skip


def test_keep_alive_and_close(sim: RunningSimulator):
    """A connection serves many requests, pipelined ones too; with keep_alive off it ends after the response."""
    with Client(sim) as client:
        for _ in range(3):
            assert client.ask(CHAT, chat())[0] == 200
        status, head, _ = client.ask(CHAT, chat(sim={"keep_alive": False}))
        assert (status, b"connection: close" in head, client.rest()) == (200, True, b"")
        assert b"transfer-encoding" in head


def test_close_framing_ends_with_the_connection(sim: RunningSimulator):
    """No chunks, no length: the events lie bare and the FIN ends them."""
    with Client(sim) as client:
        _, head, body = client.ask(CHAT, chat(sim={"framing": "close"}))

    assert b"transfer-encoding" not in head
    assert plain(body) == plain(body_of(sim))


def test_options_come_in_headers_too(sim: RunningSimulator):
    """x-sim-NAME is the same as the body's sim.NAME."""
    with Client(sim) as client:
        body = client.ask(CHAT, chat(tokens=4), "x-sim-tokens-per-chunk: 4\r\nx-sim-token-text: abc\r\n")[2]

    assert [e["choices"][0]["delta"]["content"] for e in events(body)[:-1]] == ["", "abc" * 4]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (CHAT, {"messages": []}, 400),
        (CHAT, {**chat(), "model": "other"}, 404),
        (CHAT, chat(tokens=0), 400),
        (CHAT, chat(tokens=99), 400),
        (CHAT, chat(min_tokens=1), 422),
        (CHAT, chat(sim={"no_such": 1}), 400),
        (CHAT, chat(sim={"usage": "nowhere"}), 400),
        (CHAT, {**chat(), "stream": False, "stream_options": {}}, 400),
        (CHAT, None, 405),
        ("/nowhere", None, 404),
        ("/health", None, 200),
        ("/v1/models", None, 200),
    ],
)
def test_statuses(sim: RunningSimulator, path: str, body: dict[str, Any] | None, status: int):
    """Requests are refused as vLLM refuses them, and the connection lives on."""
    with Client(sim) as client:
        assert client.ask(path, body)[0] == status
        assert client.ask("/health")[0] == 200


def test_natural_length_gives_stop_unless_eos_is_ignored():
    """An answer ends by itself after 3 tokens with `stop`; ignore_eos takes it to max_tokens."""
    with simulator(SimulatorConfig(natural_output_tokens=3, latency=LatencyModel(itl_s=0.001))) as sim:
        ended = events(body_of(sim, tokens=5))
        forced = events(body_of(sim, tokens=5, ignore_eos=True))

    assert (len(ended) - 2, ended[-2]["choices"][0]["finish_reason"]) == (3, "stop")
    assert (len(forced) - 2, forced[-2]["choices"][0]["finish_reason"]) == (5, "length")
