"""What the preflight finds out before anything is measured, and what it refuses."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from fakes.http import Answer, Fake, Request
from sweeps_for_tests import prompts, spec_of

from benchsuite.errors import BenchsuiteError, InputError, ServerRefused, ServerUnreachable
from benchsuite.load.doctor import check_server
from benchsuite.load.preflight import preflight, refusal_text
from benchsuite.load.server_probe import control_client
from benchsuite.load.virtual_users import Preflight
from benchsuite.simulator.config import Fault, ResponseShape, SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.spec import SweepSpec


def found(spec: SweepSpec, tokens: int | None = None) -> Preflight:
    """The preflight of a spec, with prompts of few tokens or that ask for `tokens`."""
    with control_client(spec) as client:
        return preflight(spec, client, prompts(2, tokens).prompts)


def refusal(spec: SweepSpec, kind: type[BenchsuiteError], tokens: int | None = None) -> BenchsuiteError:
    """The error of a preflight that must fail."""
    with pytest.raises(kind) as refused:
        found(spec, tokens)
    return refused.value


@contextmanager
def simulated(**config: object) -> Iterator[str]:
    with simulator(SimulatorConfig(**config)) as server:
        yield server.base_url


@contextmanager
def fake(routes: dict[str, tuple[int, object]], server: str = "fake", location: str = "") -> Iterator[str]:
    """A server whose paths answer (status, JSON or text), with a location if there is one."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = server, ""

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body = routes.get(self.path, (404, {"detail": "Not Found"}))
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}"
        finally:
            listening.shutdown()
            thread.join()


def models(*names: str, owner: str = "me") -> tuple[int, object]:
    return 200, {"data": [{"id": name, "owned_by": owner} for name in names]}


WHOLE = {"id": "x", "choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}


def test_a_server_that_does_all():
    """A server that streams, counts and obeys is told so."""
    with simulated() as url:
        result = found(spec_of(url, [1], server={"profile": "vllm"}))
    assert (result.plan.model, result.plan.profile.name, result.plan.dropped) == ("simulator", "vllm", ())
    assert (result.endpoints[0].path, result.closes_after_response) == ("/v1/chat/completions", False)
    facts = {k: v for k, v in result.facts.items() if k not in ("stamp_source", "server", "capacity")}
    assert facts == {
        "profile": "vllm",
        "model": "simulator",
        "models_listed": ["simulator"],
        "streams": True,
        "reports_usage": True,
        "input_tokens": 2,
        "asked_output_tokens": 1,
        "got_output_tokens": 1,
        "finish_reason": "length",
        "fields_refused": [],
        "limit_field": "max_tokens",
        "cache_bust": "field",
        "closes_after_response": False,
        "body_lingers": False,
        "requests": 2,
        "output_tokens": 2,
        "headers": {},
        "longest": {"prompt_id": "p0", "input_tokens": 2, "asked_output_tokens": 1, "refused": None, "cut": False},
    }
    assert result.facts["capacity"] == {
        "concurrent_requests": None,
        "context_tokens": 131072,
        "input_tokens": None,
        "requests_per_period": None,
        "tokens_per_period": None,
        "warnings": [],
    }


def test_fields_that_are_refused_by_name():
    """A field that the server refuses by name is left out from then on, and the manifest says so."""
    with simulated(reject_fields=("cache_salt", "min_tokens")) as url:
        spec = spec_of(url, [1], server={"profile": "vllm"}, workload={"fixed_length": True})
        result = found(spec)
    assert sorted(result.plan.dropped) == sorted(result.facts["fields_refused"]) == ["cache_salt", "min_tokens"]
    body = result.plan.body(prompts(1).prompts[0])
    assert ("cache_salt" in body, "min_tokens" in body, body["ignore_eos"]) == (False, False, True)
    # the cache is kept out all the same
    assert (result.plan.cache_bust, result.facts["cache_bust"]) == ("prompt", "prompt")
    assert body["messages"][0]["content"].startswith(f"[{result.plan.salt}] ")


class Picky(Fake):
    """Refuses a field by name, in the words that `refuse` makes of the body; else answers with a whole completion."""

    def __init__(self, field: str, refuse: Callable[[dict], tuple[int, object]]) -> None:
        super().__init__()
        self._field, self._refuse = field, refuse

    async def handle(self, request: Request, answer: Answer) -> None:
        if request.path == "/v1/models":
            await answer.whole(200, {"data": [{"id": "m", "owned_by": "vllm"}]})
        elif self._field in (request.json or {}):
            status, said = self._refuse(request.json)
            await answer.whole(status, said if isinstance(said, str) else json.dumps(said))
        else:
            await answer.whole(200, WHOLE)


def _pydantic(body: dict) -> tuple[int, object]:
    """FastAPI's own words: where, what, and the whole request as it came."""
    return 422, {"detail": [{"type": "missing", "loc": ["body", "min_tokens"], "msg": "no", "input": body}]}


@pytest.mark.parametrize(
    "refuse",
    [
        lambda _: (400, {"error": {"message": "x" * 400 + " unsupported: min_tokens"}}),
        lambda _: (400, "x" * 400 + " unsupported: min_tokens"),
        lambda _: (422, {"error": {"message": "no", "param": "min_tokens"}}),
        _pydantic,
    ],
    ids=["far behind", "far behind in text", "param", "the request quoted"],
)
def test_where_a_refused_field_is_named(refuse):
    """It is found however long the error is, and never in the request that an error quotes."""
    with Picky("min_tokens", refuse) as server:
        result = found(spec_of(server.base_url, [1], workload={"fixed_length": True}))
    assert result.plan.dropped == ("min_tokens",)


def _newer(_: dict) -> tuple[int, object]:
    words = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    return 400, {"error": {"message": words, "type": "invalid_request_error", "param": "max_tokens"}}


class Least(Fake):
    """Refuses to make fewer than 16 tokens, in the words given."""

    def __init__(self, words: str, status: int = 400, least: int = 16) -> None:
        super().__init__()
        self._words, self._status, self._least = words, status, least

    async def handle(self, request: Request, answer: Answer) -> None:
        if request.path == "/v1/models":
            await answer.whole(200, {"data": [{"id": "m", "owned_by": "me"}]})
        elif (request.json or {}).get("max_tokens", 99) < self._least:
            await answer.whole(self._status, {"error": {"message": self._words}})
        else:
            await answer.whole(200, WHOLE)


@pytest.mark.parametrize("status", [400, 422, 200])
@pytest.mark.parametrize(
    "words",
    [
        "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got 8 instead.",
        "The message could not be finished because the limit of output tokens was reached.",
        "max_tokens must be greater than thinking.budget_tokens",
    ],
)
def test_a_server_with_a_least_number_of_tokens(words, status):
    """A probe that is too short for the server is sent as long as the sweep's own requests; the sweep goes on."""
    with Least(words, status) as server:
        result = found(spec_of(server.base_url, [1], workload={"max_output_tokens": 32}), tokens=90)
        assert [body["max_tokens"] for body in server.bodies("/v1/chat/completions")] == [8, 32, 32]
    assert result.plan.max_output_tokens == 32


def test_a_least_number_that_the_sweep_does_not_reach():
    """It is asked for twice and refused with what was asked and the server's words."""
    with Least("Expected a value >= 64", least=64) as server:
        error = refusal(spec_of(server.base_url, [1]), ServerRefused, tokens=32)
        assert [body["max_tokens"] for body in server.bodies("/v1/chat/completions")] == [8, 32]
    assert "Expected a value >= 64" in error.given
    assert '"max_tokens": 32' in error.where


def test_doctor_takes_a_least_number_too():
    """What it asks such a server is answered, so that it finds nothing amiss in the requests."""
    with Least("max_tokens must be greater than thinking.budget_tokens", least=1025) as server:
        seen = {one.name: one.status for one in check_server(spec_of(server.base_url, [1]))}
    assert "requests" not in seen
    assert seen["model"] == "ok"


def test_a_redirect_of_the_models():
    """Without --model it is the answer of /v1/models that says where the server is."""
    with fake({"/v1/models": (308, "")}, location="https://llm.invalid/api/v1/models?a=1") as url:
        error = refusal(spec_of(url, [1]), ServerRefused)
    assert (error.given, error.hint) == (
        "HTTP 308 to https://llm.invalid/api/v1/models",
        "--base-url https://llm.invalid/api/v1",
    )


def test_the_newer_name_of_the_cap():
    """A model that wants max_completion_tokens says so, and gets it from then on."""
    with Picky("max_tokens", _newer) as server:
        result = found(spec_of(server.base_url, [1], server={"profile": "openai"}))
        assert [sorted(body) for body in server.bodies("/v1/chat/completions")] == [
            ["max_tokens", "messages", "model", "stream", "stream_options"],
            *[["max_completion_tokens", "messages", "model", "stream", "stream_options"]] * 2,
        ]
    assert (result.plan.limit_field, result.facts["limit_field"]) == ("max_completion_tokens",) * 2
    assert (result.plan.dropped, result.facts["fields_refused"]) == ((), ["max_tokens"])


def test_a_cap_that_is_refused_under_both_names():
    """It is tried once under each name."""
    with Picky("model", _newer) as server:
        error = refusal(spec_of(server.base_url, [1]), ServerRefused)
        assert len(server.bodies("/v1/chat/completions")) == 2
    assert "Use 'max_completion_tokens' instead." in error.given


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 3000, b'{"a":' * 900 + b"1" + b"}" * 900, b"null", b"5"])
def test_odd_errors_name_nothing(body):
    """An error body of any shape gives words, never an exception."""
    assert "min_tokens" not in refusal_text(body)


def test_llamacpp_without_its_prompt_cache():
    """cache_bust = field switches llama.cpp's prompt cache off, request by request; auto salts the prompt as ever."""
    with simulated() as url:
        for wanted, sent in (("field", False), ("auto", None), ("off", None)):
            spec = spec_of(url, [1], server={"profile": "llamacpp"}, workload={"cache_bust": wanted})
            assert found(spec).plan.body(prompts(1).prompts[0]).get("cache_prompt") is sent


@pytest.mark.parametrize(
    ("profile", "fixed_length", "bust"),
    [("llamacpp", False, "field"), ("llamacpp", True, "prompt"), ("vllm", False, "field"), ("openai", False, "prompt")],
)
def test_a_question_that_is_scored_is_not_changed(profile, fixed_length, bust):
    """Of a scored set auto leaves the prompts as they are, where a field keeps them out of the cache."""
    scored = [replace(one, reference="B", scorer="choice") for one in prompts(2).prompts]
    with simulated() as url:
        workload = {"fixed_length": fixed_length}
        spec = spec_of(url, [1], server={"profile": profile}, workload=workload)
        with control_client(spec) as client:
            plan = preflight(spec, client, scored).plan
    assert plan.cache_bust == bust
    assert (plan.body(scored[0]).get("cache_prompt") is False) == (profile == "llamacpp" and not fixed_length)


def test_a_field_that_must_stay():
    """A field that the sweep cannot do without is not left out: the refusal is told."""
    with simulated(reject_fields=("max_tokens",)) as url:
        error = refusal(spec_of(url, [1]), ServerRefused)
    assert error.given == "http_error: HTTP 422: Unexpected fields in the request: max_tokens"


@pytest.mark.parametrize(("shape", "key"), [(ResponseShape(usage="none"), "reports_usage")])
def test_no_usage(shape, key):
    """A server that counts no tokens is found out."""
    with simulated(response=shape) as url:
        assert found(spec_of(url, [1])).facts[key] is False


def test_not_streaming():
    """A server that answers a stream request with one JSON object is found out."""
    with fake({"/v1/models": models("m"), "/v1/chat/completions": (200, WHOLE)}) as url:
        facts = found(spec_of(url, [1])).facts
    assert (facts["streams"], facts["reports_usage"], facts["finish_reason"]) == (False, False, "stop")


def test_a_server_that_hangs_up():
    """A server that closes each connection behind its response is learned before the first point."""
    with simulated(response=ResponseShape(keep_alive=False)) as url:
        result = found(spec_of(url, [1]))
    assert result.facts["requests"] == 2


def test_an_unknown_model():
    """A model that the server does not list is refused with those that it does."""
    with simulated() as url:
        error = refusal(spec_of(url, [1], server={"model": "gpt", "profile": "vllm"}), ServerRefused)
    assert (error.what, error.given, error.expected) == (
        "the server does not have the model",
        "gpt",
        "one of simulator",
    )
    assert (error.where, error.exit_code) == (f"{url}/v1/models", 1)


def test_an_unknown_model_of_a_server_that_may_not_list_it():
    """Where the list does not bind, the trial request finds the model missing."""
    with simulated() as url:
        error = refusal(spec_of(url, [1], server={"model": "gpt", "profile": "openai"}), ServerRefused)
    assert error.given == "http_error: HTTP 404: The model `gpt` does not exist. Valid aliases: simulator."


@pytest.mark.parametrize(
    ("listed", "given"), [((), "the server lists none"), (("a", "b"), "the server lists 2")], ids=["none", "two"]
)
def test_no_model_named(listed, given):
    """Without --model the server must list exactly one."""
    with fake({"/v1/models": models(*listed)}) as url:
        error = refusal(spec_of(url, [1]), InputError)
    assert error.what == f"no model is chosen, and {given}"
    assert error.hint == (None if listed else f"check the URL: none at {url}/v1/models; or name it with --model")
    assert error.expected == ("one of a, b" if listed else "the model's name as the server knows it")


def test_nobody_there():
    """A port where nobody listens is told with the address."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    error = refusal(spec_of(url, [1]), ServerUnreachable)
    assert (error.what, error.where) == ("the server cannot be reached", f"{url}/v1/models")


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(("key", "said"), [(None, "no key"), ("secret", "a key")])
def test_a_key_that_is_not_accepted(monkeypatch, status, key, said):
    """A key that is missing or wrong is told with its variable, never with its value."""
    monkeypatch.delenv("TEST_KEY", raising=False)
    if key:
        monkeypatch.setenv("TEST_KEY", key)
    with fake({"/v1/models": (status, {"error": "no"})}) as url:
        error = refusal(spec_of(url, [1], server={"api_key_env": "TEST_KEY"}), ServerRefused)
    assert error.given == f"HTTP {status}; {said} from $TEST_KEY"
    assert "secret" not in str(error)


@pytest.mark.parametrize(("key", "sent"), [("secret\n", "secret"), ("  ", None), ("", None)])
def test_keys_are_stripped(monkeypatch, key, sent):
    """A line end behind a key, as `export KEY=$(cat FILE)` in some shells leaves it, is not part of it."""
    monkeypatch.setenv("TEST_KEY", key)
    with simulated() as url:
        headers = found(spec_of(url, [1], server={"api_key_env": "TEST_KEY"})).endpoints[0].headers
    assert headers == ((("Authorization", f"Bearer {sent}"),) if sent else ())


@pytest.mark.parametrize("key", ["two\nlines", "schlüssel", "a\x7fb"])
def test_keys_that_no_header_can_carry(monkeypatch, key):
    """A key with a control or non-ASCII character is refused before it is sent, and is not shown."""
    monkeypatch.setenv("TEST_KEY", key)
    error = refusal(spec_of("http://127.0.0.1:9", [1], server={"api_key_env": "TEST_KEY"}), InputError)
    assert error.where == "$TEST_KEY"
    assert key not in str(error)


@pytest.mark.parametrize(
    ("routes", "server", "profile"),
    [
        ({"/v1/models": models("m", owner="vllm")}, "uvicorn", "vllm"),
        ({"/v1/models": models("m", owner="llamacpp")}, "llama.cpp", "llamacpp"),
        ({"/v1/models": models("m", owner="library"), "/api/version": (200, {"version": "1"})}, "x", "ollama"),
        ({"/v1/models": models("m"), "/info": (200, {"max_concurrent_requests": 128})}, "x", "tgi"),
        ({"/v1/models": models("m"), "/metrics": (200, "vllm:num_requests_running 0\n")}, "x", "vllm"),
        ({"/v1/models": (500, "Internal Server Error")}, "uvicorn", "transformers"),
        ({"/v1/models": (200, "<html>")}, "nginx", "openai"),
        ({"/v1/models": (200, {"data": None})}, "nginx", "openai"),
        ({"/v1/models": (200, {"data": [{"no": "id"}]})}, "nginx", "openai"),
        ({}, "nginx", "openai"),
    ],
)
def test_which_server_it_is(routes, server, profile):
    """A server is known by who owns its models, by its own paths, or by its headers; else it is plain OpenAI."""
    with fake(routes | {"/v1/chat/completions": (200, WHOLE)}, server) as url:
        assert found(spec_of(url, [1], server={"model": "m"})).facts["profile"] == profile


def test_a_request_that_does_not_work_once():
    """A request like the sweep's own that fails is refused with the server's words."""
    with simulated(faults=(Fault(kind="http_500"),)) as url:
        error = refusal(spec_of(url, [1]), ServerRefused)
    assert error.what == "the server does not answer the sweep's own request"
    assert error.given == "http_error: HTTP 500: simulated"


def test_no_field_for_the_salt():
    """A cache key that the server has no field for cannot be asked for."""
    with simulated() as url:
        error = refusal(spec_of(url, [1], server={"profile": "openai"}, workload={"cache_bust": "field"}), InputError)
    assert (error.where, error.expected) == ("workload.cache_bust", "prompt, off or auto")


def test_a_path_before_v1():
    """A base URL with a path keeps it, for the models and for the requests."""
    with fake({"/proxy/v1/models": models("m"), "/proxy/v1/chat/completions": (200, WHOLE)}) as url:
        result = found(spec_of(f"{url}/proxy/v1/", [1]))
    assert (result.endpoints[0].path, result.plan.model) == ("/proxy/v1/chat/completions", "m")
