"""Every server of the table has every capability, or says why not; and each is found by what it alone does."""

from __future__ import annotations

import json
import pickle
from string import Formatter
from typing import Any

import httpx
import pytest

from benchsuite.load.server_probe import PORTS, recognise, recognise_refusal, server_facts
from benchsuite.records import ServerSample
from benchsuite.servers import LAUNCHED, PROFILES, SERVERS
from benchsuite.servers.base import Server, fill
from benchsuite.serving.launch_plan import parse_serve
from benchsuite.telemetry.server_metrics import FAMILIES, read_server_page

CAPABILITIES = ("ports", "recognise", "limits", "metrics", "local", "docker", "parallel_flags", "schema_fields")
# why it is not there
ABSENT = {
    ("llamacpp", "docker"): "it comes with benchsuite, and starts in a second",
    ("llamacpp", "parallel_flags"): "the embedded one runs on the CPU",
    ("ollama", "metrics"): "it has no metrics page",
    ("ollama", "parallel_flags"): "it places a model on GPUs by itself",
    ("openai", "recognise"): "it is what remains",
    ("openai", "limits"): "only a paid API's x-ratelimit headers tell",
    ("openai", "metrics"): "a page is read if it has one of a known server",
    ("openai", "local"): "benchsuite does not know what to start",
    ("openai", "docker"): "benchsuite does not know what to start",
    ("openai", "parallel_flags"): "it is not started",
    ("simulator", "ports"): "serve lets the system choose one",
    ("simulator", "limits"): "vLLM's",
    ("simulator", "metrics"): "vLLM's",
    ("simulator", "docker"): "it comes with benchsuite",
    ("simulator", "parallel_flags"): "it has no GPUs",
    ("transformers", "metrics"): "it has no metrics page",
    ("transformers", "limits"): "it tells none",
    ("transformers", "docker"): "there is no image for it",
    ("transformers", "parallel_flags"): "it serves on one device unless its own arguments say otherwise",
    ("transformers", "schema_fields"): "it refuses fields that constrain the answer",
}
EVERY = pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS)


@EVERY
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_server_has_it_or_says_why_not(server: Server, capability: str) -> None:
    """A capability is there, or its absence has a reason; never both and never neither."""
    assert bool(getattr(server, capability)) != ((server.name, capability) in ABSENT)


@EVERY
def test_what_is_there_holds_together(server: Server) -> None:
    """Names, paths, placeholders and pickling: what the readers of the table rely on."""
    assert SERVERS[server.name] is server
    assert server.speaks is None or server.speaks in PROFILES
    assert all(
        path.startswith("/") for path in (server.ready_path, server.metrics_path or "/", server.info_path or "/")
    )
    assert set(server.metrics or {}) <= set(ServerSample._fields)
    assert pickle.loads(pickle.dumps(server)) == server  # it crosses to the measuring processes
    if server.limits is not None:
        for source in (*server.limits.concurrent_requests, *server.limits.context_tokens, *server.limits.input_tokens):
            assert source.startswith(("/", "--"))
        assert not server.limits.raise_slots or "n" in [
            field[1] for field in Formatter().parse(server.limits.raise_slots)
        ]
        assert server.limits.slots
    if server.metrics:
        assert server.metrics_path
        assert server.metrics_remedy
    if server.local is not None and not server.local.embedded:
        assert server.local.program
        assert server.local.install or server.local.package
        assert server.examples
    for example in server.examples:
        parse_serve(example.replace("--docker", "").replace("--log llamacpp.log", ""))


def models(owner: str | None) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": "m", "owned_by": owner}]}


def answering(routes: dict[str, Any], header: str) -> tuple[httpx.Client, list[str]]:
    """A client of a server with these routes, and the paths that it is asked for."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        content = routes.get(request.url.path)
        text = content if isinstance(content, str) else json.dumps(content)
        status = 404 if content is None else 200
        return httpx.Response(status, text=text, headers={"server": header} if header else {})

    return httpx.Client(base_url="http://h", transport=httpx.MockTransport(answer)), asked


@EVERY
def test_each_is_recognised_by_what_it_alone_does(server: Server) -> None:
    """By the owner of its models alone, by its header, by a route, by its refusal; else it is openai."""
    expected = SERVERS[server.speaks or server.name]
    marks = server.recognise
    if marks is None:
        client, asked = answering({"/v1/models": models("someone")}, "nginx")
        assert recognise(client, client.get("/v1/models"), ["m"]) is server
        assert len(asked) == len(set(asked))
        return
    tried = 0
    for owner, header, listed in (
        (marks.owned_by, "", ["m"]), (None, marks.header, ["m"]), (None, marks.unlisted_header, None),
    ):  # fmt: skip
        if owner or header:
            client, asked = answering({"/v1/models": models(owner)}, header or "")
            assert recognise(client, client.get("/v1/models"), listed) is expected
            assert owner is None or asked == ["/v1/models"]
            tried += 1
    if marks.route:
        client, _ = answering({"/v1/models": models(None), marks.route[0]: f"# {marks.route[1]} 1"}, "")
        assert recognise(client, client.get("/v1/models"), ["m"]) is expected
        tried += 1
    if marks.refusal:
        assert recognise_refusal(f"422: {marks.refusal}") is expected
        tried += 1
    assert tried


def test_facts_of_sglang_hold_no_keys() -> None:
    """SGLang tells all of its arguments, its API keys among them: only those that we name are kept."""
    told = {
        "version": "0.5.21",
        "api_key": "secret",
        "admin_api_key": "s",
        "max_running_requests": 64,
        "model_path": "/m",
    }
    client, _ = answering({"/server_info": told}, "")
    assert server_facts(client, SERVERS["sglang"]) == {"version": "0.5.21", "max_running_requests": 64}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_page_with_all_names_gives_all_figures(family: str) -> None:
    """Each family's page is known as its own, and every figure that the family names is read from it."""
    newest = {figure: totals[0] for figure, totals in FAMILIES[family].items()}
    lines = {f'{name}{{{label or "any"}="{text}"}} 2' for total in newest.values() for name, label, text in total}
    reading = read_server_page("\n".join(lines) + "\n")
    assert reading.family == family
    assert reading.figures == {figure: 2.0 * len(total) for figure, total in newest.items()}


def test_discover_looks_where_servers_listen() -> None:
    """Every usual port once, those of more usual servers first."""
    assert len(PORTS) == len(set(PORTS))
    assert set(PORTS) == {port for server in SERVERS.values() for port in server.ports}


@pytest.mark.parametrize(
    ("words", "values", "filled"),
    [
        ("serve {model} --port {port}", {"model": "m", "port": "1"}, ["serve", "m", "--port", "1"]),
        (
            "serve {model} --host {host} --port {port}",
            {"model": None, "host": None, "port": "1"},
            ["serve", "--port", "1"],
        ),
        ("--model-id {model}", {"model": "a b"}, ["--model-id", "a b"]),
        ("", {"model": "m"}, []),
    ],
)
def test_fill(words: str, values: dict[str, Any], filled: list[str]) -> None:
    """A placeholder without a value goes with its flag; a value is one word whatever is in it."""
    assert fill(words, **values) == filled


def test_names() -> None:
    """Those that --profile takes and those that are started come from the table."""
    assert "simulator" in LAUNCHED
    assert "simulator" not in PROFILES
    assert "openai" in PROFILES
    assert "openai" not in LAUNCHED
