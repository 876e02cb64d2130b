"""What [sampling], extra_body and a line of the request set put into a request's body, and who has the last word."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from benchsuite.client.http import Endpoint
from benchsuite.client.request import BodyPlan, encode, http_request
from benchsuite.request_spec import SamplingSpec
from benchsuite.servers import SERVERS
from benchsuite.servers.base import unknown_sampling
from benchsuite.spec import load_spec, overrides
from benchsuite.workload.dataset import Prompt

HI = ({"role": "user", "content": "Hi"},)
PROMPT = Prompt("p1", None, HI, None, 100)
PLAN = BodyPlan(SERVERS["vllm"], "m", "chat", True, False, None, "off", "abc")
OURS = PLAN.body(PROMPT)
ALL = {
    "temperature": 0.5, "top_p": 0.9, "top_k": 40, "seed": 7, "stop": ("END", "\n"), "presence_penalty": 1.0,
    "frequency_penalty": -1.0, "reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": False},
}  # fmt: skip


def sent(profile: str, endpoint: str, **sampling: object) -> dict:
    """What the body has besides what it always has."""
    plan = replace(PLAN, profile=SERVERS[profile], endpoint=endpoint)  # type: ignore[arg-type]
    fields = SamplingSpec.model_validate(sampling).fields
    return {k: v for k, v in replace(plan, sampling=fields).body(PROMPT).items() if v != plan.body(PROMPT).get(k)}


@pytest.mark.parametrize(
    ("profile", "endpoint", "sampling", "body"),
    [
        ("vllm", "chat", {}, {}),
        ("vllm", "chat", ALL, ALL | {"stop": ["END", "\n"]}),
        ("vllm", "chat", {"temperature": 0}, {"temperature": 0}),
        ("openai", "completions", {"temperature": 1, "seed": 0, "stop": ("a",)},
         {"temperature": 1, "seed": 0, "stop": ["a"]}),
        ("tgi", "native", {"temperature": 0.5, "top_k": 40, "seed": 7, "stop": ("END",), "frequency_penalty": 1},
         {"parameters": {"details": True, "max_new_tokens": 100, "do_sample": True, "temperature": 0.5, "top_k": 40,
                         "seed": 7, "stop": ["END"], "frequency_penalty": 1}}),
        ("tgi", "native", {"temperature": 0, "top_p": 0.9},  # greedy there is no sampling, and no temperature
         {"parameters": {"details": True, "max_new_tokens": 100, "do_sample": False, "top_p": 0.9}}),
        ("tgi", "native", {"seed": 1},
         {"parameters": {"details": True, "max_new_tokens": 100, "do_sample": False, "seed": 1}}),
        ("ollama", "native", {name: value for name, value in ALL.items() if name != "chat_template_kwargs"},
         {"think": "low", "options": {"num_predict": 100, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "seed": 7,
                                      "stop": ["END", "\n"], "presence_penalty": 1, "frequency_penalty": -1}}),
        ("ollama", "native", {"reasoning_effort": "none"}, {"think": False}),
        ("ollama", "native", {"reasoning_effort": "high"}, {"think": "high"}),
    ],
)  # fmt: skip
def test_sampling_goes_under_the_servers_names(profile, endpoint, sampling, body):
    """What is given is sent, under the names of the route, and nothing else."""
    assert sent(profile, endpoint, **sampling) == body


@pytest.mark.parametrize(("profile", "table", "cap"), [("ollama", "options", "num_predict"),
                                                       ("tgi", "parameters", "max_new_tokens")])  # fmt: skip
def test_a_line_has_the_last_word_on_a_native_route(profile, table, cap):
    """Its temperature goes before extra_body's, and of all caps, by any name, the smallest is sent and in the row."""
    line = replace(PROMPT, max_output_tokens=30, extra_body={"temperature": 0.2})
    plan = replace(PLAN, profile=SERVERS[profile], endpoint="native", max_output_tokens=50)
    for extra, sent_cap in (({"temperature": 0.9, cap: 99}, 30), ({cap: 20}, 20)):
        one = replace(plan, extra_body={table: extra})
        body = one.body(line)[table]
        assert (body["temperature"], body[cap], one.asked_output_tokens(line)) == (0.2, sent_cap, sent_cap)


@pytest.mark.parametrize("profile", ["ollama", "tgi"])
@pytest.mark.parametrize("name", ["reasoning", "temp", "message", "s", "keep_alive"])
def test_a_lines_other_fields_are_sent_as_they_are(profile, name):
    """A field that is no sampling parameter of the route, though its name begins like one, is not left out."""
    plan = replace(PLAN, profile=SERVERS[profile], endpoint="native")
    assert plan.body(replace(PROMPT, extra_body={name: 1})) == plan.body(PROMPT) | {name: 1}


THINKING = {  # the examples of docs/guide/own-requests.md
    "--chat-template-kwargs '{\"enable_thinking\": false}'": (
        ("vllm", "sglang", "llamacpp"), {"chat_template_kwargs": {"enable_thinking": False}}),
    "--reasoning-effort none": (("openai", "ollama", "llamacpp"), {"reasoning_effort": "none"}),
    "--reasoning-effort low": (("vllm", "sglang", "llamacpp", "openai", "ollama"), {"reasoning_effort": "low"}),
    "--extra-body '{\"thinking_budget_tokens\": 256}'": (("llamacpp",), {"thinking_budget_tokens": 256}),
    "--extra-body '{\"reasoning\": {\"enabled\": false}}'": (("openai",), {"reasoning": {"enabled": False}}),
    "--extra-body '{\"reasoning\": {\"effort\": \"low\"}}'": (("openai",), {"reasoning": {"effort": "low"}}),
}  # fmt: skip


@pytest.mark.parametrize(("flags", "expected"), THINKING.items(), ids=THINKING)
def test_thinking_as_the_guide_says(flags, expected):
    """Each line of the guide's table puts these fields into the body of those servers."""
    profiles, fields = expected
    name, value = shlex.split(flags)
    spec = load_spec(None, overrides({"base_url": "http://h", name.removeprefix("--").replace("-", "_"): value}))
    for profile in profiles:
        plan = replace(PLAN, sampling=spec.sampling.fields, extra_body=spec.server.extra_body)
        assert json.loads(encode(PROMPT, replace(plan, profile=SERVERS[profile]), Endpoint(2, (), "h")).wire.partition(
            b"\r\n\r\n")[2]) == replace(PLAN, profile=SERVERS[profile]).body(PROMPT) | fields  # fmt: skip
        assert unknown_sampling(SERVERS[profile], spec.sampling.fields, native=False) == []


def test_the_guides_table_is_that():
    """No example of the guide is without its test."""
    guide = (Path(__file__).parents[2] / "docs" / "guide" / "own-requests.md").read_text("utf-8")
    table = guide.partition("| server | thinking off |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(--[^`]+)`", table)) == set(THINKING)


@pytest.mark.parametrize(
    ("profile", "native", "unknown"),
    [
        ("vllm", False, []),
        ("tgi", False, ["top_k", "reasoning_effort", "chat_template_kwargs"]),
        ("tgi", True, ["presence_penalty", "reasoning_effort", "chat_template_kwargs"]),
        ("lmdeploy", False, ["presence_penalty", "frequency_penalty"]),
        ("ollama", False, ["top_k", "chat_template_kwargs"]),
        ("ollama", True, ["chat_template_kwargs"]),
    ],
)
def test_what_a_route_would_drop_without_a_word(profile, native, unknown):
    """Each such key is known, so that no run says that it had it."""
    assert unknown_sampling(SERVERS[profile], ALL, native=native) == unknown


@pytest.mark.parametrize(
    ("sampling", "extra", "line", "has"),
    [
        (0.1, {}, {}, 0.1),
        (0.1, {"temperature": 0.2}, {}, 0.2),
        (0.1, {"temperature": 0.2}, {"temperature": 0.3}, 0.3),
        (None, {}, {"temperature": 0.3}, 0.3),
        (0.1, {"temperature": None}, {}, None),
    ],
)
def test_who_has_the_last_word(sampling, extra, line, has):
    """Ours < [sampling] < extra_body < the line of the request set."""
    plan = replace(PLAN, sampling={} if sampling is None else {"temperature": sampling}, extra_body=extra)
    assert plan.body(replace(PROMPT, extra_body=line))["temperature"] == has


def test_tables_add_up():
    """chat_template_kwargs of all three places come together, the later over the earlier."""
    plan = replace(PLAN, sampling={"chat_template_kwargs": {"a": 1, "b": 1, "c": 1}},
                   extra_body={"chat_template_kwargs": {"b": 2, "c": 2}})  # fmt: skip
    body = plan.body(replace(PROMPT, extra_body={"chat_template_kwargs": {"c": 3}}))
    assert body["chat_template_kwargs"] == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_cap_in_extra_body_is_a_cap(name):
    """It lowers the length that is asked for and that the row says; it never raises it, or adds a second name."""
    for cap, asked in ((5, 5), (500, 100)):
        plan = replace(PLAN, extra_body={name: cap})
        assert (plan.body(PROMPT), plan.asked_output_tokens(PROMPT)) == (OURS | {"max_tokens": asked}, asked)


OWN = ({"role": "system", "content": "Mine."}, *HI)
PARTS = ({"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": "u"}]},)


@pytest.mark.parametrize(
    ("endpoint", "prompt", "salted", "messages"),
    [
        ("chat", PROMPT, False, [{"role": "system", "content": "Be brief."}, *HI]),
        ("chat", PROMPT, True, [{"role": "system", "content": "[abc] Be brief."}, *HI]),
        ("chat", replace(PROMPT, messages=OWN), False, list(OWN)),
        ("chat", replace(PROMPT, messages=({"role": "developer", "content": "D"}, *HI)), False,
         [{"role": "developer", "content": "D"}, *HI]),
        ("chat", replace(PROMPT, messages=PARTS), True, [{"role": "system", "content": "[abc] Be brief."}, *PARTS]),
        ("chat", Prompt("p", None, None, "Once"), False,
         [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Once"}]),
        ("completions", PROMPT, False, "system: Be brief.\n\nuser: Hi\n\nassistant:"),
        ("completions", Prompt("p", None, None, "Once"), True, "[abc] Be brief.\n\nOnce"),
    ],
)  # fmt: skip
def test_system_prompt(endpoint, prompt, salted, messages):
    """It goes before every prompt that has none; the salt goes before both."""
    plan = replace(PLAN, endpoint=endpoint, system_prompt="Be brief.", cache_bust="prompt" if salted else "off")
    assert plan.body(prompt)["messages" if endpoint == "chat" else "prompt"] == messages


def test_headers_take_the_place_of_ours():
    """A header of the same name, however spelled, is there once; the query goes behind the path."""
    given = (("authorization", "Basic x"), ("user-agent", "me"), ("X-Tenant", "acme"), ("HOST", "inner"))
    request = http_request(Endpoint(2, (), "h", "h:1", "/v1/x", query="?a=1&b=%20", headers=given), {}, stream=False)
    first, *lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    names = [line.partition(":")[0].lower() for line in lines]
    assert first == "POST /v1/x?a=1&b=%20 HTTP/1.1"
    assert len(names) == len(set(names)) == 9
    assert {"authorization: Basic x", "user-agent: me", "X-Tenant: acme", "HOST: inner"} <= set(lines)
