"""What servers can take: what they tell of it, the words for what is beyond it, and the prefix cache."""

from __future__ import annotations

import json
from dataclasses import replace

import httpx
import pytest
from fakes.ollama import FakeOllama
from fakes.replay import Replay
from fakes.tgi import FakeTgi
from sweeps_for_tests import prompts, spec_of

from benchsuite.client.request import BodyPlan
from benchsuite.load.preflight import preflight
from benchsuite.load.server_probe import control_client, limit_warnings, reset_prefix_cache, server_limits
from benchsuite.servers import SERVERS
from benchsuite.simulator.config import SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.workload.dataset import Prompt

NOTHING = dict.fromkeys(
    ("concurrent_requests", "context_tokens", "input_tokens", "requests_per_period", "tokens_per_period")
)
LONGEST = {"prompt_id": "p7", "input_tokens": 3000, "asked_output_tokens": 500, "refused": None, "cut": False}
PLAN = BodyPlan(SERVERS["vllm"], "m", "chat", True, False, None, "field", "s")


def page(tree: object, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n\r\n{json.dumps(tree)}".encode()


def facts_of(url: str, profile: str, served: dict | None = None, **facts: object) -> dict:
    """What a server at `url` tells."""
    with control_client(spec_of(url, [1])) as client:
        return server_limits(client, SERVERS[profile], {"model": "tiny-llama", "headers": {}} | facts, served)


SGLANG = {"internal_states": [{"effective_max_running_requests_per_dp": 80}] * 2}
SLOTS = {"total_slots": 4, "default_generation_settings": {"n_ctx": 2048, "params": {}}}


@pytest.mark.parametrize(
    ("profile", "routes", "told"),
    [
        ("vllm", {"GET /v1/models": "vllm_get_models"}, {"context_tokens": 4096}),
        ("llamacpp", {"GET /props": page(SLOTS)}, {"concurrent_requests": 4, "context_tokens": 2048}),
        ("llamacpp", {"GET /props": page(SLOTS, "503 Service Unavailable")}, {}),
        ("llamacpp", {"GET /props": page([1])}, {}),
        ("llamacpp", {"GET /props": page({"total_slots": "4", "default_generation_settings": None})}, {}),
        ("vllm", {"GET /v1/models": page({"data": [{"id": "other", "max_model_len": 1}, 5]})}, {}),
        ("vllm", {"GET /v1/models": page({"data": None})}, {}),
        ("ollama", {"GET /api/ps": page({"models": None})}, {}),
        ("ollama", {"GET /api/ps": page({"models": [{"name": "tiny-llama"}]})}, {}),
        ("sglang", {"GET /server_info": page(SGLANG)}, {"concurrent_requests": 160}),
        ("sglang", {"GET /get_server_info": page(SGLANG)}, {"concurrent_requests": 160}),
        ("sglang", {"GET /server_info": page({"internal_states": [{}, 5]})}, {}),
        ("sglang", {"GET /v1/models": "vllm_get_models"}, {"context_tokens": 4096}),
        ("lmdeploy", {}, {}),
        ("trtllm", {}, {}),
        ("transformers", {}, {}),
        ("openai", {}, {}),
    ],
)
def test_limits_that_servers_tell(profile, routes, told):
    """Each server's limits come from where it tells them; what it does not tell is unknown."""
    with Replay(routes) as fake:
        assert facts_of(fake.base_url, profile) == NOTHING | told


def test_limits_of_the_fakes():
    """TGI tells all in /info, Ollama the context of a model that is loaded."""
    with FakeTgi(max_concurrent=3, max_total_tokens=100) as fake:
        told = {"concurrent_requests": 3, "context_tokens": 100, "input_tokens": 99}
        assert facts_of(fake.base_url, "tgi") == NOTHING | told
    with FakeOllama(model="tiny-llama:latest", context_length=64) as fake:
        assert facts_of(fake.base_url, "ollama") == NOTHING
        fake.loaded = True
        assert facts_of(fake.base_url, "ollama") == NOTHING | {"context_tokens": 64}


@pytest.mark.parametrize(
    ("command", "limit"),
    [
        (["vllm", "serve", "M", "--max-num-seqs", "64"], 64),
        (["vllm", "serve", "M", "--max-num-seqs=8", "--max-num-seqs", "16"], 16),
        ("vllm serve M --max-num-seqs 64", 64),
        (["vllm", "serve", "M", "--max-num-seqs"], None),
        (["vllm", "serve", "M", "--max-num-seqs", "many"], None),
        (["vllm", "serve", "M", "--max-num-seqs-not", "5"], None),
        (None, None),
    ],
)
def test_arguments_of_a_server_that_we_started(command, limit):
    """vLLM does not report its max_num_seqs, but its command line does when we wrote it."""
    with Replay({}) as fake:
        assert facts_of(fake.base_url, "vllm", {"command": command})["concurrent_requests"] == limit


def test_settings_that_are_variables():
    """Ollama's slots are in no command and no route, but in the plan that we started it by."""
    launched = {"command": ["ollama", "serve"], "plan": "ollama m -- --num-parallel 4"}
    with Replay({}) as fake:
        assert facts_of(fake.base_url, "ollama", launched)["concurrent_requests"] == 4


def test_limits_of_a_paid_api():
    """Rate limits come from the headers of a real answer; nonsense there is nothing."""
    headers = {"x-ratelimit-limit-requests": "500", "x-ratelimit-limit-tokens": "lots"}
    with Replay({}) as fake:
        assert facts_of(fake.base_url, "openai", headers=headers) == NOTHING | {"requests_per_period": 500}


@pytest.mark.parametrize(
    ("profile", "levels", "told", "code", "remedy"),
    [
        ("tgi", [2, 129], {"concurrent_requests": 128}, "slots_refused", "--max-concurrent-requests 129"),
        ("tgi", [128], {"concurrent_requests": 128}, None, ""),
        ("llamacpp", [4, 6], {"concurrent_requests": 4}, "slots_exceeded", "--parallel 6"),
        ("llamacpp", [4], {"concurrent_requests": 4}, None, ""),
        ("vllm", [65], {"concurrent_requests": 64}, "slots_exceeded", "--max-num-seqs 65"),
        ("vllm", [256], {}, None, ""),
        ("vllm", [257], {}, "slots_unknown", "--max-num-seqs 257"),
        ("sglang", [65], {"concurrent_requests": 64}, "slots_exceeded", "--max-running-requests 65"),
        ("sglang", [1000], {}, None, ""),
        ("lmdeploy", [129], {}, "slots_unknown", "--max-batch-size 129"),
        ("trtllm", [9], {"concurrent_requests": 8}, "slots_exceeded", "--max_batch_size 9"),
        ("ollama", [1], {}, None, ""),
        ("ollama", [8], {}, "slots_unknown", "OLLAMA_NUM_PARALLEL=8"),
        ("openai", [8], {"requests_per_period": 500}, "rate_limited", "--max-request-rate"),
        ("transformers", [1000], {}, None, ""),
    ],
)
def test_levels_beyond_the_server(profile, levels, told, code, remedy):
    """A level beyond what the server takes at a time is a warning with its remedy; an unknown one where it matters."""
    found = list(limit_warnings(SERVERS[profile], levels, NOTHING | told, LONGEST))
    assert [warn.code for warn in found] == ([] if code is None else [code])
    assert all(remedy in warn.remedy for warn in found)


@pytest.mark.parametrize(
    ("profile", "told", "longest", "code", "remedy"),
    [
        ("vllm", {"context_tokens": 3500}, {}, None, ""),
        ("vllm", {"context_tokens": 3499}, {}, "context_too_short", "--max-model-len"),
        ("ollama", {"context_tokens": 2048}, {}, "context_too_short", "OLLAMA_CONTEXT_LENGTH"),
        ("llamacpp", {"context_tokens": 3200}, {}, "context_too_short", "--ctx-size"),
        ("tgi", {"context_tokens": 4096, "input_tokens": 2999}, {}, "prompt_too_long", ""),
        ("vllm", {"context_tokens": 10}, {"input_tokens": None}, None, ""),
        ("vllm", {"context_tokens": 3001}, {"asked_output_tokens": None}, None, ""),
        ("openai", {"context_tokens": 3000}, {"asked_output_tokens": None}, "context_too_short", "--max-output-tokens"),
        ("openai", {}, {}, None, ""),
        ("openai", {}, {"refused": "http_error: HTTP 400: too long"}, "longest_refused", ""),
        (
            "ollama",
            {"context_tokens": 4096},
            {"refused": "HTTP 400", "cut": True},
            "prompts_cut",
            "OLLAMA_CONTEXT_LENGTH",
        ),
    ],
)
def test_requests_beyond_the_context(profile, told, longest, code, remedy):
    """The longest request is held against the context, as the server itself counts its tokens."""
    found = list(limit_warnings(SERVERS[profile], [1], NOTHING | told, LONGEST | longest))
    assert [warn.code for warn in found] == ([] if code is None else [code])
    assert all(remedy in warn.remedy and warn.values["prompt"] == "p7" for warn in found)


@pytest.mark.parametrize(("endpoint", "code", "probes"), [("native", "longest_refused", 3), ("chat", "prompts_cut", 3)])
def test_the_preflight_warns(endpoint, code, probes):
    """Its warnings are in the preflight's facts; several servers share a level. What a route would cut is told."""
    short = Prompt("a", None, None, "one two", 5)
    long = Prompt("b", None, None, "word " * 60, 5)
    with FakeOllama(context_length=50) as one, FakeOllama(context_length=50) as two:
        spec = spec_of(one.base_url, [9], server={"more_base_urls": [two.base_url], "endpoint": endpoint})
        with control_client(spec) as client:
            facts = preflight(spec, client, (short, long)).facts
        assert [body.get("truncate") for body in one.bodies("/api/chat")][-1:] == [False]
    assert facts["longest"] == {
        "prompt_id": "b", "input_tokens": None, "asked_output_tokens": 5, "cut": endpoint == "chat",
        "refused": "http_error: HTTP 400: request (61 tokens) exceeds the available context size (50 tokens)",
    }  # fmt: skip
    assert (facts["requests"], facts["output_tokens"]) == (probes, 10)
    slots, cut = facts["capacity"]["warnings"]
    assert (slots["code"], slots["values"]["setting"]) == ("slots_unknown", "OLLAMA_NUM_PARALLEL=5")
    assert (cut["code"], cut["values"]["prompt"]) == (code, "b")


def test_a_gateway_without_the_route_that_refuses():
    """Where only Ollama's OpenAI routes are let through, the longest request is asked there."""
    routes = {"GET /v1/models": "ollama_get_models", "POST /v1/chat/completions": "ollama_chat_stream"}
    with Replay(routes) as fake:
        spec = spec_of(fake.base_url, [1], server={"model": "tiny", "profile": "ollama"})
        with control_client(spec) as client:
            facts = preflight(spec, client, prompts(1).prompts).facts
    assert (facts["longest"]["input_tokens"], facts["longest"]["refused"], facts["longest"]["cut"]) == (15, None, False)


def test_a_longest_request_that_is_refused():
    """It does not stop the sweep, whose other requests work; it is told before they run."""
    long = Prompt("b", None, None, "word " * 200, 5)
    with FakeTgi(max_total_tokens=100) as fake, control_client(spec := spec_of(fake.base_url, [1])) as client:
        facts = preflight(spec, client, (prompts(1).prompts[0], long)).facts
    (warning,) = facts["capacity"]["warnings"]
    assert (warning["code"], warning["values"]["prompt"]) == ("longest_refused", "b")


@pytest.mark.parametrize(
    ("plan", "routes", "said", "posted"),
    [
        (PLAN, {"POST /reset_prefix_cache": page({})}, "reset", 1),
        (PLAN, {}, "not offered", 1),
        (PLAN, {"POST /reset_prefix_cache": page({}, "500 Internal Server Error")}, "failed: HTTP 500", 1),
        (replace(PLAN, cache_bust="prompt"), {"POST /reset_prefix_cache": page({})}, "reset", 1),
        (replace(PLAN, cache_bust="off"), {"POST /reset_prefix_cache": page({})}, "left warm", 0),
        (replace(PLAN, profile=SERVERS["llamacpp"]), {}, "not offered", 0),
    ],
)
def test_emptying_the_prefix_cache(plan, routes, said, posted):
    """It is emptied where the server has a route for that and reuse is not wanted; what came of it is said."""
    with Replay(routes) as fake:
        with control_client(spec_of(fake.base_url, [1])) as client:
            assert reset_prefix_cache(client, plan) == said
        assert len(fake.bodies("/reset_prefix_cache")) == posted


def test_emptying_the_prefix_caches_of_several_servers():
    """Each server is told; one word where they agree, each server's own where they do not."""
    with Replay({"POST /reset_prefix_cache": page({})}) as one, Replay({}) as two, Replay({}) as three:
        client = httpx.Client(base_url=one.base_url)
        unlike = reset_prefix_cache(client, PLAN, (one.base_url, two.base_url))
        alike = reset_prefix_cache(client, PLAN, (two.base_url, three.base_url))
        client.close()
        assert unlike == f"{one.base_url}: reset; {two.base_url}: not offered"
        assert alike == "not offered"


def test_emptying_the_prefix_cache_of_a_dead_server():
    """A server that is gone is no reason to stop here."""
    with Replay({}) as fake:
        client = control_client(spec_of(fake.base_url, [1]))
    with client:
        assert reset_prefix_cache(client, PLAN) == "failed: ConnectError"


def test_the_simulators_prefix_cache():
    """The simulator's cache is really empty afterwards: the same prompt hits, and then misses."""
    prompt = "word " * 64
    body = {"prompt": prompt, "max_tokens": 1}
    with simulator(SimulatorConfig(prefix_cache=True)) as server, httpx.Client(base_url=server.base_url) as client:

        def cached() -> int:
            usage = client.post("/v1/completions", json=body).json()["usage"]
            return (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0

        cold, warm = cached(), cached()
        assert reset_prefix_cache(client, PLAN) == "reset"
        assert (cold, warm > 0, cached()) == (0, True, 0)
