"""The six servers, each from its real bytes or a fake of its exact wire format: found out, asked, read, refused."""

from __future__ import annotations

import asyncio

import pytest
from fakes.http import Answer, Fake, Request
from fakes.ollama import FakeOllama
from fakes.replay import FOLDER, Replay
from fakes.tgi import FakeTgi
from sweeps_for_tests import Watcher, column, prompts, run, spec_of

from benchsuite.errors import InputError, ServerRefused
from benchsuite.load import preflight as trial
from benchsuite.load.preflight import PROBE_SALT, preflight, probe
from benchsuite.load.server_probe import control_client
from benchsuite.load.virtual_users import Preflight
from benchsuite.records import RequestRecord
from benchsuite.servers import SERVERS
from benchsuite.spec import SweepSpec
from benchsuite.workload.dataset import Prompt

SIX = Prompt("six", None, ({"role": "user", "content": "one two three four five six"},), None, 5)


def found(spec: SweepSpec, prompt: Prompt = SIX) -> Preflight:
    """The preflight of a spec."""
    with control_client(spec) as client:
        return preflight(spec, client, (prompt,))


def row_of(spec: SweepSpec, prompt: Prompt = SIX) -> RequestRecord:
    """The row of one request of the spec, after a preflight."""
    ready = found(spec, prompt)
    return asyncio.run(probe(ready.endpoints[0], ready.plan, spec, prompt, None)).rows[-1]


def said(row: RequestRecord) -> tuple:
    """What a response gave: outcome, chunks, tokens, end, and whether there was a first token."""
    tokens = (row.input_tokens, row.output_tokens, row.token_source)
    return row.status, row.n_chunks, tokens, row.finish_reason, row.first_token_s is not None


REAL = {
    "vllm": {"GET /v1/models": "vllm_get_models"},
    "llamacpp": {"GET /v1/models": "llamacpp_get_models"},
    "transformers": {"GET /v1/models": "transformers_get_models"},
    "openai": {"GET /v1/models": "llamacpppython_get_models"},
    "ollama": {"GET /v1/models": "ollama_get_models", "GET /api/version": "ollama_get_version",
               "GET /api/ps": "ollama_get_ps"},
    "tgi": {"GET /v1/models": "tgi_get_models", "GET /info": "tgi_get_info"},
}  # fmt: skip
MODELS = {"ollama": "tiny", "tgi": "tiny/llama"}


@pytest.mark.parametrize(
    ("server", "endpoint", "stream", "capture", "expected"),
    [
        ("vllm", "chat", True, "vllm_chat_stream", (8, (36, 8, "usage"), "length")),
        ("vllm", "chat", False, "vllm_chat_nonstream", (0, (36, 8, "usage"), "length")),
        ("vllm", "completions", True, "vllm_completions_stream", (8, (12, 8, "usage"), "length")),
        ("llamacpp", "chat", True, "llamacpp_chat_stream", (8, (36, 8, "usage"), "length")),
        ("llamacpp", "chat", True, "llamacpp_chat_stream_nousage", (8, (None, 8, "chunks"), "length")),
        ("llamacpp", "chat", False, "llamacpp_chat_nonstream", (0, (36, 8, "usage"), "length")),
        ("llamacpp", "completions", True, "llamacpp_completions_stream", (8, (12, 8, "usage"), "length")),
        ("transformers", "chat", True, "transformers_chat_stream", (8, (36, 8, "usage"), "length")),
        ("transformers", "chat", True, "transformers_cb_chat_stream", (8, (36, 8, "usage"), "length")),
        ("transformers", "chat", False, "transformers_chat_nonstream", (0, (36, 8, "usage"), "length")),
        ("transformers", "completions", True, "transformers_completions_stream", (8, (12, 8, "usage"), "length")),
        ("openai", "chat", True, "llamacpppython_chat_stream", (8, (None, 8, "chunks"), "length")),
        ("tgi", "chat", True, "tgi_chat_stream", (3, (15, 3, "usage"), "length")),
        ("tgi", "chat", True, "tgi_chat_stream_eos", (2, (15, 3, "usage"), "stop")),
        ("tgi", "chat", False, "tgi_chat_nonstream", (0, (15, 3, "usage"), "length")),
        ("tgi", "completions", True, "tgi_completions_stream", (3, (4, 3, "usage"), "length")),
        ("tgi", "completions", True, "tgi_completions_stream_eos", (3, (4, 3, "usage"), "eos_token")),
        ("tgi", "completions", False, "tgi_completions_nonstream", (0, (4, 3, "usage"), "length")),
        ("tgi", "native", True, "tgi_generate_stream", (3, (4, 3, "usage"), "length")),
        ("tgi", "native", False, "tgi_generate_nonstream", (0, (4, 3, "usage"), "length")),
        ("ollama", "chat", True, "ollama_chat_stream", (5, (15, 5, "usage"), "length")),
        ("ollama", "chat", True, "ollama_chat_stream_thinking", (4, (17, 4, "usage"), "length")),
        ("ollama", "chat", True, "ollama_chat_stream_tools", (1, (87, 35, "usage"), "tool_calls")),
        ("ollama", "chat", False, "ollama_chat_nonstream", (0, (15, 5, "usage"), "length")),
        ("ollama", "completions", True, "ollama_completions_stream", (5, (15, 5, "usage"), "length")),
        ("ollama", "native", True, "ollama_api_chat", (5, (15, 5, "usage"), "length")),
        ("ollama", "native", True, "ollama_api_chat_thinking", (4, (17, 4, "usage"), "length")),
        ("ollama", "native", True, "ollama_api_chat_tools", (1, (87, 43, "usage"), "stop")),
        ("ollama", "native", False, "ollama_api_chat_nonstream", (0, (15, 5, "usage"), "length")),
    ],
)
def test_real_bytes(server, endpoint, stream, capture, expected):
    """A real server's answer, over a real socket: known for what it is, its tokens counted, its end seen."""
    native = SERVERS[server].native
    own = native and (native.stream_path if stream else native.whole_path)
    path = {"chat": "/v1/chat/completions", "completions": "/v1/completions", "native": own}[endpoint]
    with Replay(REAL[server] | {f"POST {path}": capture}) as fake:
        model = MODELS.get(server, "tiny-llama")
        spec = spec_of(fake.base_url, [1], server={"model": model, "endpoint": endpoint, "stream": stream})
        assert found(spec).plan.profile.name == server
        assert said(row_of(spec)) == ("ok", *expected, stream)


TGI, OLLAMA = "tgi", "ollama"
FAKES = {TGI: FakeTgi, OLLAMA: FakeOllama}


@pytest.mark.parametrize("server", [TGI, OLLAMA])
@pytest.mark.parametrize("endpoint", ["chat", "completions", "native"])
@pytest.mark.parametrize("stream", [True, False])
def test_fakes(server, endpoint, stream):
    """TGI and Ollama, every route: known for what they are, tokens counted by themselves, the end and its reason."""
    with FAKES[server]() as fake:
        spec = spec_of(fake.base_url, [1], server={"endpoint": endpoint, "stream": stream})
        ready = found(spec)
        assert (ready.plan.profile.name, ready.facts["fields_refused"]) == (server, [])
        # the salt is one word, rendering messages as text adds two
        n_words = {"chat": 7, "completions": 9, "native": 9 if server == TGI else 7}[endpoint]
        assert said(row_of(spec)) == ("ok", 5 if stream else 0, (n_words, 5, "usage"), "length", stream)


@pytest.mark.parametrize(
    ("server", "endpoint", "chunks", "finish"),
    [
        (TGI, "chat", 2, "stop"),
        (TGI, "completions", 3, "eos_token"),
        (TGI, "native", 2, "eos_token"),
        (OLLAMA, "chat", 3, "stop"),
        (OLLAMA, "completions", 3, "stop"),
        (OLLAMA, "native", 3, "stop"),
    ],
)
def test_answers_that_end_by_themselves(server, endpoint, chunks, finish):
    """TGI counts its end-of-text token, on its completions route a chunk; both name the reason in their own words."""
    with FAKES[server](eos_at=3) as fake:
        row = row_of(spec_of(fake.base_url, [1], server={"endpoint": endpoint}))
    assert (row.status, row.n_chunks, row.output_tokens, row.finish_reason) == ("ok", chunks, 3, finish)


def test_keep_alive_comments_and_older_frames():
    """A comment before the first token, and `data:` without a space, change nothing."""
    with FakeTgi(keep_alive=True, old_axum=True) as fake:
        row = row_of(spec_of(fake.base_url, [1], server={"endpoint": "native"}))
    assert said(row) == ("ok", 5, (9, 5, "usage"), "length", True)


def test_thinking_of_ollama():
    """Thought tokens are the first tokens, the answer begins behind them."""
    for endpoint in ("chat", "native"):
        with FakeOllama(thinking=2, token_s=0.002) as fake:
            row = row_of(spec_of(fake.base_url, [1], server={"endpoint": endpoint}))
        assert (row.status, row.n_chunks, row.output_tokens) == ("ok", 5, 5)
        assert row.first_answer_s > row.first_token_s


def test_what_the_servers_say_of_their_times():
    """Ollama's durations stand in its native rows, TGI's wait in rows that did not stream; elsewhere nothing does."""
    with FakeOllama() as fake:
        row = row_of(spec_of(fake.base_url, [1], server={"endpoint": "native"}))
        assert (row.server_queue_s, row.server_prefill_s, row.server_decode_s) == (0.0, 0.005, 0.035)
        row = row_of(spec_of(fake.base_url, [1]))
        assert (row.server_queue_s, row.server_prefill_s, row.server_decode_s) == (None, None, None)
    with FakeTgi(queue_ms=250) as fake:
        for endpoint in ("native", "chat"):
            row = row_of(spec_of(fake.base_url, [1], server={"endpoint": endpoint, "stream": False}))
            assert (row.server_queue_s, row.server_prefill_s, row.server_decode_s) == (0.25, None, None)
        assert row_of(spec_of(fake.base_url, [1], server={"endpoint": "native"})).server_queue_s is None


@pytest.mark.parametrize(("driver", "server"), [("httpx", TGI), ("httpx-shared", OLLAMA)])
def test_other_clients_speak_the_native_routes(tmp_path, driver, server):
    """The clients for cross-checks read the same native streams."""
    with FAKES[server](token_s=0.001) as fake:
        spec = spec_of(fake.base_url, [2], server={"endpoint": "native"}, load={"driver": driver})
        _, kept = run(spec, prompts(4, tokens=3), tmp_path / "run")
    assert column(kept, "status") == ["ok"] * 4
    assert column(kept, "output_tokens") == [3] * 4
    assert column(kept, "n_chunks") == [3] * 4


def test_a_sweep_beyond_what_tgi_takes(tmp_path):
    """Requests beyond max_concurrent_requests fail at once with TGI's words under status 200; the others are ok."""
    with FakeTgi(max_concurrent=2, token_s=0.02) as fake:
        spec = spec_of(fake.base_url, [4], server={"endpoint": "native"})
        _, kept = run(spec, prompts(12, tokens=4), tmp_path / "run")
    errors = {error for error in column(kept, "error") if error}
    statuses = set(column(kept, "status"))
    assert (statuses, errors) == ({"ok", "stream_error"}, {"Model is overloaded"})
    assert kept.manifest["server_probe"]["capacity"]["warnings"][0]["code"] == "slots_refused"


def test_a_sweep_through_ollamas_one_slot(tmp_path):
    """Behind one slot requests wait, and their own durations say for how long; nobody pays the cold start twice."""
    with FakeOllama(token_s=0.01) as fake:
        spec = spec_of(fake.base_url, [3], server={"endpoint": "native"})
        _, kept = run(spec, prompts(6, tokens=3), tmp_path / "run")
    waits = column(kept, "server_queue_s")
    assert column(kept, "status") == ["ok"] * 6
    assert sorted(round(wait * 1e9) for wait in waits) == sorted(fake.waited_ns[2:])
    assert max(waits) > 0.03
    assert column(kept, "server_decode_s") == [0.021] * 6


@pytest.mark.parametrize("profile", ["auto", "openai"])
def test_a_server_without_metrics_is_not_blamed_for_it(tmp_path, profile):
    """Ollama has no page of metrics: none is asked for and no note complains, nor of an unknown server's."""
    view = Watcher()
    with FakeOllama() as fake:
        _, kept = run(spec_of(fake.base_url, [1], server={"profile": profile}), prompts(2), tmp_path / "run", view)
    assert [note for note in view.notes if "metrics" in note] == []
    assert kept.manifest.telemetry.server == []
    assert kept.manifest.telemetry.problems == []


def test_an_unknown_server_with_metrics_is_sampled(simulated, tmp_path):
    """A page with a known server's names is used whatever the profile; one that the user names is asked in any case."""
    view = Watcher()
    _, kept = run(spec_of(simulated.base_url, [1], server={"profile": "openai"}), prompts(2), tmp_path / "known")
    named = {"metrics_url": f"{simulated.base_url}/nowhere"}
    spec = spec_of(simulated.base_url, [1], server={"profile": "openai"}, telemetry=named)
    run(spec, prompts(2), tmp_path / "named", view)
    assert [facts["family"] for facts in kept.manifest["telemetry"]["server"]] == ["vllm"]
    assert [note for note in view.notes if "answered 404" in note] != []


OUT_OF_MEMORY = ("Request failed during generation: Server error: Exception calling application: CUDA error: "
                 "out of memory")  # fmt: skip
REFUSED = [
    ("vllm", "vllm_err_unknown_model",
     "http_error: HTTP 404: The model `no-such-model` does not exist. Valid aliases: tiny-llama."),
    ("vllm", "vllm_err_max_tokens_0",
     "http_error: HTTP 400: max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)"),
    ("vllm", "vllm_err_unknown_path", "http_error: HTTP 404: Not Found"),
    ("llamacpp", "llamacpp_err_context_too_long", "http_error: HTTP 400: request (36013 tokens) exceeds the available "
     "context size (4096 tokens), try increasing it"),
    ("llamacpp", "llamacpp_err_unknown_path", "http_error: HTTP 404: File Not Found"),
    ("transformers", "transformers_err_max_tokens_0", "http_error: HTTP 500: Internal Server Error"),
    ("transformers", "transformers_err_unknown_field",
     "http_error: HTTP 422: Unexpected fields in the request: {'no_such_field'}"),
    ("transformers", "transformers_err_unknown_model", "http_error: HTTP 400: Server is pinned to "
     "'/data/models/tiny-llama'; requested 'no-such-model'."),
    ("openai", "llamacpppython_err_context_too_long", "truncated: HTTP 200 with an empty body"),
    ("tgi", "tgi_chat_stream_error_in_200", "stream_error: Input validation error: `inputs` tokens + `max_new_tokens` "
     "must be <= 512. Given: 15 `inputs` tokens and 600 `max_new_tokens`"),
    ("tgi", "tgi_err_context_too_long", "http_error: HTTP 422: Input validation error: `inputs` tokens + "
     "`max_new_tokens` must be <= 512. Given: 15 `inputs` tokens and 600 `max_new_tokens`"),
    ("tgi", "tgi_chat_midstream_error", f"stream_error: {OUT_OF_MEMORY}"),
    ("tgi", "tgi_err_generation", f"http_error: HTTP 424: {OUT_OF_MEMORY}"),
    ("tgi", "tgi_err_missing_field", "http_error: HTTP 422: Failed to deserialize the JSON body into the target type: "
     "missing field `messages` at line 1 column 13"),
    ("ollama", "ollama_err_unknown_model_chat", "http_error: HTTP 404: model 'nope' not found"),
    # its runner's own refusal, as a text in its own
    ("ollama", "ollama_err_context_too_long", "http_error: HTTP 400: request (2864 tokens) exceeds the available "
     "context size (512 tokens), try increasing it"),
    ("ollama", "ollama_err_thinking", 'http_error: HTTP 400: "tiny" does not support thinking'),
    # its runner died: the OpenAI route swallows the error
    ("ollama", "ollama_chat_midstream_error", "truncated: the response ended without a finish_reason"),
    # it ends what repeats a piece of text 30 times, without a word
    ("ollama", "ollama_chat_stream_repeats", "truncated: the response ended without a finish_reason"),
    ("ollama", "ollama_api_chat_nothing", "truncated: HTTP 200 with an empty body"),
]  # fmt: skip


@pytest.mark.parametrize(("server", "capture", "given"), REFUSED, ids=[case[1] for case in REFUSED])
def test_real_refusals(server, capture, given):
    """A real server's refusal ends the preflight with the server's own words."""
    with Replay(REAL[server] | {"POST /v1/chat/completions": capture}) as fake, pytest.raises(ServerRefused) as refused:
        found(spec_of(fake.base_url, [1], server={"model": MODELS.get(server, "tiny-llama")}))
    assert refused.value.given == given


@pytest.mark.parametrize(
    ("fake", "server", "given"),
    [
        (FakeTgi(max_total_tokens=8), {"endpoint": "native"},
         "stream_error: Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8. "
         "Given: 9 `inputs` tokens and 5 `max_new_tokens`"),
        (FakeTgi(max_total_tokens=8), {"endpoint": "native", "stream": False},
         "http_error: HTTP 422: Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8. "
         "Given: 9 `inputs` tokens and 5 `max_new_tokens`"),
        (FakeTgi(max_concurrent=0), {}, "stream_error: Model is overloaded"),
        (FakeTgi(max_concurrent=0), {"stream": False}, "http_error: HTTP 429: Model is overloaded"),
        (FakeTgi(error_at=3), {}, f"stream_error: {OUT_OF_MEMORY}"),
        (FakeTgi(error_at=3), {"endpoint": "native"}, f"stream_error: {OUT_OF_MEMORY}"),
        (FakeOllama(error_at=3), {"endpoint": "native"},
         "stream_error: an error was encountered while running the model: unexpected EOF"),
        (FakeOllama(error_at=3), {}, "truncated: the response ended without a finish_reason"),
        (FakeOllama(max_queue=0, loading=True), {},
         "http_error: HTTP 503: server busy, please try again. maximum pending requests exceeded"),
        (FakeOllama(max_queue=0, loading=True), {"endpoint": "native"},
         "http_error: HTTP 503: server busy, please try again. maximum pending requests exceeded"),
    ],
)  # fmt: skip
def test_refusals_of_fakes(monkeypatch, fake, server, given):
    """A refusal, in a stream or not, before or within the answer, ends the preflight with the server's own words."""
    monkeypatch.setattr(trial, "PAUSES_S", (0.0,))
    with fake, pytest.raises(ServerRefused) as refused:
        found(spec_of(fake.base_url, [1], server=server))
    assert refused.value.given == given
    busy = any(word in given for word in ("429", "503", "overloaded"))
    assert ("the server is busy" in refused.value.hint) is busy


def test_a_model_that_is_not_pulled():
    """Ollama lists what it has; the remedy is its own command."""
    with Replay(REAL["ollama"]) as fake, pytest.raises(ServerRefused) as refused:
        found(spec_of(fake.base_url, [1], server={"model": "nope"}))
    assert (refused.value.given, refused.value.hint) == ("nope", "ollama pull nope")
    with Replay(REAL["ollama"] | {"GET /v1/models": "ollama_get_models_none"}) as fake, pytest.raises(InputError):
        found(spec_of(fake.base_url, [1]))  # a list of none is null


class _SoonFree(FakeOllama):
    """Busy for the first requests."""

    refusals = 3

    async def handle(self, request: Request, answer: Answer) -> None:
        if request.method == "POST" and self.refusals:
            self.refusals -= 1
            await answer.whole(503, {"error": {"message": "Loading model"}})
        else:
            await super().handle(request, answer)


def test_a_server_that_is_busy_for_a_moment_is_asked_again(monkeypatch):
    """One refusal of a full or loading server does not end the preflight; more of them than there are pauses do."""
    monkeypatch.setattr(trial, "PAUSES_S", (0.0, 0.0, 0.0))
    with _SoonFree() as fake:
        assert found(spec_of(fake.base_url, [1])).plan.profile.name == "ollama"
    monkeypatch.setattr(trial, "PAUSES_S", (0.0, 0.0))
    with _SoonFree() as fake, pytest.raises(ServerRefused) as refused:
        found(spec_of(fake.base_url, [1]))
    assert refused.value.given == "http_error: HTTP 503: Loading model"


def test_what_is_asked_on_the_native_routes():
    """The sweep's own body goes out, the trial's cap with it, and a person's fields are added."""
    extra = {"parameters": {"temperature": 0.5, "do_sample": True}}
    with FakeTgi() as fake:
        found(spec_of(fake.base_url, [1], server={"endpoint": "native", "extra_body": extra}))
    assert fake.bodies("/generate_stream") == [{
        "inputs": f"[{PROBE_SALT}] user: one two three four five six\n\nassistant:",
        "parameters": {"details": True, "do_sample": True, "temperature": 0.5, "max_new_tokens": 5},
    }] * 2  # fmt: skip
    with FakeOllama() as fake:
        found(spec_of(fake.base_url, [1], server={"endpoint": "native", "extra_body": {"keep_alive": -1}}))
    assert fake.bodies("/api/chat") == [{
        "model": "llama3.2:latest",
        "messages": [{"role": "user", "content": f"[{PROBE_SALT}] one two three four five six"}],
        "stream": True, "truncate": False, "options": {"num_predict": 5}, "keep_alive": -1,
    }] * 2  # fmt: skip


def test_connections_are_kept():
    """Both requests of the trial go over one connection where the server keeps it."""
    for fake in (FakeTgi(), FakeOllama()):
        with fake:
            ready = found(spec_of(fake.base_url, [1], server={"endpoint": "native"}))
        # one of the control client, one to choose the address, one of the trial
        assert (ready.closes_after_response, fake.connections) == (False, 3)


def test_native_routes_that_nobody_has(simulated):
    """A server without a native route that we speak, and a client that speaks none, are bad input."""
    with pytest.raises(InputError) as refused:
        found(spec_of(simulated.base_url, [1], server={"endpoint": "native"}))
    assert (refused.value.given, refused.value.expected) == ("native", "chat or completions; native for tgi and ollama")
    with FakeTgi() as fake, pytest.raises(InputError) as refused:
        found(spec_of(fake.base_url, [1], server={"endpoint": "native"}, load={"driver": "openai"}))
    assert "load.driver: " in refused.value.what


class _Transformers(Fake):
    """`transformers serve` that lists its models (as it does online), and refuses fields that it does not know."""

    async def handle(self, request: Request, answer: Answer) -> None:
        fields = {"model", "messages", "max_tokens", "stream"}
        if request.path == "/v1/models":
            item = {"id": "tiny-llama", "object": "model", "owned_by": "me"}
            await answer.whole(200, {"object": "list", "data": [item]}, "application/json", "server: uvicorn")
        elif request.path != "/v1/chat/completions":
            await answer.whole(404, {"detail": "Not Found"})
        elif unknown := set(request.json) - fields:
            await answer.whole(422, {"detail": f"Unexpected fields in the request: {unknown}"})
        else:
            body = (FOLDER / "transformers_chat_stream.txt").read_bytes().partition(b"\r\n\r\n")[2]
            await answer.whole(200, body, "text/event-stream")


def test_transformers_that_lists_its_models():
    """It is known by its refusal of stream_options, which is then left out; usage comes all the same."""
    with _Transformers() as fake:
        ready = found(spec_of(fake.base_url, [1]))
    assert ready.plan.profile.name == "transformers"
    assert (ready.facts["profile"], ready.facts["reports_usage"]) == ("transformers", True)
    assert ready.facts["fields_refused"] == ["stream_options"]
