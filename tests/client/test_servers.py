"""What is sent to each kind of server: the fields, the lengths, the salts, the bytes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchsuite.client.servers import PROFILES, BodyPlan, http_request
from benchsuite.workload.prompts import Prompt

CHAT = Prompt("p1", None, ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}), None, 100)
TEXT = Prompt("p2", None, None, "Once", None)
PLAN = BodyPlan(PROFILES["vllm"], "m", "chat", True, False, None, "off", "abc123")

COMMON = {
    "model": "m",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
    "max_tokens": 100,
    "stream": True,
}
USAGE = {"stream_options": {"include_usage": True}}


@pytest.mark.parametrize(
    ("profile", "body"),
    [
        ("vllm", COMMON | USAGE | {"ignore_eos": True, "min_tokens": 100, "cache_salt": "abc123"}),
        ("tgi", COMMON | USAGE),
        ("ollama", COMMON | USAGE),
        ("llamacpp", COMMON | USAGE | {"ignore_eos": True}),
        ("transformers", COMMON),
        ("openai", COMMON | USAGE),
    ],
)
def test_fields(profile, body):
    """Each profile gets the fields that it knows and no others, with every option on."""
    plan = replace(PLAN, profile=PROFILES[profile], fixed_length=True, cache_bust="field")
    assert plan.body(CHAT) == body


@pytest.mark.parametrize("profile", PROFILES)
def test_not_streaming(profile):
    """Without streaming no stream_options are sent: vLLM refuses them."""
    body = replace(PLAN, profile=PROFILES[profile], stream=False).body(CHAT)
    assert body == {**COMMON, "stream": False}


@pytest.mark.parametrize(
    ("own", "cap", "asked"), [(None, None, None), (100, None, 100), (None, 50, 50), (100, 50, 50), (50, 100, 50)]
)
def test_asked_output_tokens(own, cap, asked):
    """max_tokens is the smaller of the prompt's own and the sweep's; without either no length is asked or fixed."""
    plan = replace(PLAN, max_output_tokens=cap, fixed_length=True)
    prompt = replace(CHAT, max_output_tokens=own)
    body = plan.body(prompt)
    assert plan.asked_output_tokens(prompt) == asked
    assert [body.get(key) for key in ("max_tokens", "min_tokens")] == [asked, asked]
    assert body.get("ignore_eos", False) is (asked is not None)


@pytest.mark.parametrize(
    ("endpoint", "prompt", "bust", "sent"),
    [
        ("chat", CHAT, "prompt",
         [{"role": "system", "content": "[abc123] Be brief."}, {"role": "user", "content": "Hi"}]),
        ("chat", CHAT, "off", [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]),
        ("chat", TEXT, "prompt", [{"role": "user", "content": "[abc123] Once"}]),
        ("completions", TEXT, "prompt", "[abc123] Once"),
        ("completions", TEXT, "field", "Once"),
        ("completions", CHAT, "prompt", "[abc123] system: Be brief.\n\nuser: Hi\n\nassistant:"),
    ],
)  # fmt: skip
def test_prompts_and_salts(endpoint, prompt, bust, sent):
    """The salt opens the prompt when it goes there; messages and text stand in for each other."""
    body = replace(PLAN, endpoint=endpoint, cache_bust=bust).body(prompt)
    assert body["messages" if endpoint == "chat" else "prompt"] == sent
    assert ("messages" in body, "prompt" in body) == (endpoint == "chat", endpoint != "chat")
    assert body.get("cache_salt") == ("abc123" if bust == "field" else None)


def test_the_prompt_stays_as_it_is():
    """A salt is put into the body, never into the prompt."""
    replace(PLAN, cache_bust="prompt").body(CHAT)
    assert CHAT.messages[0]["content"] == "Be brief."


def test_dropped_and_extra_fields():
    """Refused fields are left out; the person's own fields go over everything."""
    plan = replace(PLAN, dropped=("stream_options", "nothing"), extra_body={"temperature": 0, "max_tokens": 5})
    assert plan.body(CHAT) == {**COMMON, "temperature": 0, "max_tokens": 5}


@pytest.mark.parametrize(("endpoint", "path"), [("chat", "/v1/chat/completions"), ("completions", "/v1/completions")])
def test_paths(endpoint, path):
    """Each endpoint has its path."""
    assert replace(PLAN, endpoint=endpoint).path == path


def test_http_request():
    """A request is these bytes: compact UTF-8 JSON of the stated length."""
    assert http_request("/v1/x", "h:1", {"a": "é", "b": [1]}, api_key="k", stream=True) == (
        b"POST /v1/x HTTP/1.1\r\n"
        b"Host: h:1\r\n"
        b"User-Agent: benchsuite\r\n"
        b"Content-Type: application/json\r\n"
        b"Accept: text/event-stream\r\n"
        b"Accept-Encoding: identity\r\n"
        b"Connection: keep-alive\r\n"
        b"Content-Length: 18\r\n"
        b"Authorization: Bearer k\r\n"
        b"\r\n"
        b'{"a":"\xc3\xa9","b":[1]}'
    )


def test_http_request_without_key_or_stream():
    """Without a key there is no Authorization; without streaming JSON is accepted."""
    head, body = http_request("/", "h", {}, api_key=None, stream=False).split(b"\r\n\r\n")
    assert b"Authorization" not in head
    assert b"Accept: application/json\r\n" in head
    assert json.loads(body) == {}
