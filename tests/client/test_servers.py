"""What is sent to each kind of server: the fields, the lengths, the salts, the bytes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchsuite.client.http import Endpoint
from benchsuite.client.request import BodyPlan, http_request
from benchsuite.servers import PROFILES, SERVERS
from benchsuite.workload.dataset import Prompt

CHAT = Prompt("p1", None, ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}), None, 100)
TEXT = Prompt("p2", None, None, "Once", None)
PLAN = BodyPlan(SERVERS["vllm"], "m", "chat", True, False, None, "off", "abc123")

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
        ("llamacpp", COMMON | USAGE | {"ignore_eos": True, "cache_prompt": False}),
        ("transformers", COMMON),
        ("openai", COMMON | USAGE),
    ],
)
def test_fields(profile, body):
    """Each profile gets the fields that it knows and no others, with every option on."""
    plan = replace(PLAN, profile=SERVERS[profile], fixed_length=True, cache_bust="field")
    assert plan.body(CHAT) == body


@pytest.mark.parametrize("profile", PROFILES)
def test_not_streaming(profile):
    """Without streaming no stream_options are sent: vLLM refuses them."""
    body = replace(PLAN, profile=SERVERS[profile], stream=False).body(CHAT)
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


@pytest.mark.parametrize(
    ("profile", "endpoint", "stream", "path"),
    [
        ("vllm", "chat", True, "/chat/completions"),
        ("vllm", "completions", True, "/completions"),
        ("tgi", "native", True, "/generate_stream"),
        ("tgi", "native", False, "/generate"),
        ("ollama", "native", True, "/api/chat"),
        ("ollama", "native", False, "/api/chat"),
    ],
)
def test_paths(profile, endpoint, stream, path):
    """Each endpoint has its route."""
    assert replace(PLAN, profile=SERVERS[profile], endpoint=endpoint, stream=stream).path == path


TGI = {"details": True, "do_sample": False}
TGI_TEXT = "[abc123] system: Be brief.\n\nuser: Hi\n\nassistant:"


@pytest.mark.parametrize(
    ("prompt", "extra", "sent"),
    [
        (CHAT, {}, {"inputs": TGI_TEXT, "parameters": {**TGI, "max_new_tokens": 100}}),
        (TEXT, {}, {"inputs": "[abc123] Once", "parameters": TGI}),
        (
            TEXT,
            {"parameters": {"do_sample": True, "temperature": 0.7}},
            {"inputs": "[abc123] Once", "parameters": {"details": True, "do_sample": True, "temperature": 0.7}},
        ),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_tgi_native(prompt, extra, sent, stream):
    """TGI's own route gets text, greedy decoding and details; a person's parameters are added to ours."""
    plan = replace(PLAN, profile=SERVERS["tgi"], endpoint="native", cache_bust="prompt", stream=stream)
    assert replace(plan, extra_body=extra, fixed_length=True).body(prompt) == sent


@pytest.mark.parametrize("stream", [True, False])
def test_ollama_native(stream):
    """Ollama's own route gets messages and num_predict; the model file decides how tokens are drawn."""
    plan = replace(PLAN, profile=SERVERS["ollama"], endpoint="native", stream=stream, extra_body={"think": False})
    assert plan.body(CHAT) == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "options": {"num_predict": 100},
        "stream": stream,
        "truncate": False,
        "think": False,
    }
    assert "options" not in plan.body(TEXT)


def test_the_other_name_of_the_cap():
    """A server that wants max_completion_tokens gets it in the place of max_tokens."""
    body = replace(PLAN, limit_field="max_completion_tokens").body(CHAT)
    assert (body["max_completion_tokens"], "max_tokens" in body) == (100, False)


def test_tables_in_extra_fields_are_added_to_ours():
    """continuous_usage_stats does not take include_usage away; null does."""
    body = replace(PLAN, extra_body={"stream_options": {"continuous_usage_stats": True}}).body(CHAT)
    assert body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert replace(PLAN, extra_body={"stream_options": None}).body(CHAT)["stream_options"] is None


def test_http_request():
    """A request is these bytes: compact UTF-8 JSON of the stated length."""
    endpoint = Endpoint(2, (), "h", "h:1", "/v1/x", headers=(("Authorization", "Bearer k"),))
    assert http_request(endpoint, {"a": "é", "b": [1]}, stream=True) == (
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
    head, body = http_request(Endpoint(2, (), "h", "h", "/"), {}, stream=False).split(b"\r\n\r\n")
    assert b"Authorization" not in head
    assert b"Accept: application/json\r\n" in head
    assert json.loads(body) == {}
