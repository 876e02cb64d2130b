"""Headers, query, route and fields end to end: gateways that insist on them, and what is left of a secret (nothing)."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from urllib.parse import parse_qs, urlsplit

import pytest
from fakes.http import Answer, Fake, Request, dumps
from sweeps_for_tests import column, prompts, run, spec_of

from benchsuite.clock import Anchor
from benchsuite.errors import InputError, ServerRefused
from benchsuite.load.sweep import new_manifest
from benchsuite.manifest import differences
from benchsuite.report.judge import judge_run
from benchsuite.report.sections_run import facts
from benchsuite.workload.dataset import Prompt, make_workload

SECRET = "planted-azure-0123456789"
SPARE = "planted-fallback-9876543210"
SET = prompts(6, tokens=2)


class Gateway(Fake):
    """Answers POSTs to `route` that have `headers` and `query`, and says the secret back; all else is 404, or 401.

    models: what GET .../models gives, None for 404. busy: every other request but the first two is refused with 503.
    """

    def __init__(
        self, route: str, headers: dict[str, str], query: dict[str, str], models: int | None = None, busy: bool = False
    ) -> None:
        super().__init__()
        self.route, self.headers, self.query, self.models, self.busy = route, headers, query, models, busy
        self.count = 0

    async def handle(self, request: Request, answer: Answer) -> None:
        parts = urlsplit(request.path)
        self.count += request.method == "POST"
        if request.method == "GET" and parts.path.endswith("/models") and self.models:
            await answer.whole(self.models, {"error": {"message": f"no listing for {request.headers}"}})
        elif request.method != "POST" or parts.path != self.route or self.query != _query(parts.query):
            await answer.whole(404, {"error": {"code": "404", "message": "Resource not found"}})
        elif any(request.headers.get(name) != value for name, value in self.headers.items()):
            await answer.whole(401, {"error": {"message": f"Access denied: {request.headers}"}})
        elif self.busy and self.count > 2 and self.count % 2:
            await answer.whole(503, {"error": {"message": f"busy: {request.headers}"}})
        else:
            said = " ".join(self.headers.values())
            answer.start("text/event-stream")
            for choice in ({"delta": {"content": said}}, {"delta": {"content": "b"}, "finish_reason": "stop"}):
                await answer.chunk(f"data: {dumps({'id': said, 'choices': [choice]})}\n\n")
            await answer.chunk(f"data: {dumps({'choices': [], 'usage': USAGE})}\n\ndata: [DONE]\n\n")
            await answer.end()


class Lingering(Fake):
    """Answers a stream and keeps its response open for ever."""

    def __init__(self, end: str) -> None:
        super().__init__()
        self.end = end

    async def handle(self, request: Request, answer: Answer) -> None:
        if request.method == "GET":
            await answer.whole(200, {"data": [{"id": "m"}]})
            return
        answer.start("text/event-stream")
        choice = {"delta": {"content": "a"}, "finish_reason": "stop"}
        await answer.chunk(f"data: {dumps({'id': 'x', 'choices': [choice], 'usage': USAGE})}\n\n{self.end}")
        await asyncio.Event().wait()


@pytest.mark.parametrize("end", ["data: [DONE]\n\n", ""])
def test_responses_that_stay_open(end, tmp_path):
    """After [DONE] none is waited for, as the preflight showed; without it their silence ends them, and is told."""
    with Lingering(end) as fake:
        spec = spec_of(fake.base_url, [1], timeouts={"idle_s": 0.5})
        _, found = run(spec, prompts(3), tmp_path / "run")
    rows = sorted(found.whole.to_pylist(), key=lambda row: row["sent_s"])
    assert [(row["status"], row["output_tokens"]) for row in rows] == [("ok", 2)] * 3
    assert {row["notes"] for row in rows} == {"body_lingers" if end else "silent_end"}
    waits_s = [after["sent_s"] - row["closed_s"] for row, after in pairwise(rows)]
    assert min(waits_s) < 0.1  # connection.py's wait for the end of a response
    assert all((row["closed_s"] - row["last_token_s"] > 0.4) is not bool(end) for row in rows)


USAGE = {"prompt_tokens": 3, "completion_tokens": 2}


def _query(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text).items()}


AZURE = "/openai/deployments/my-deployment/chat/completions"
WAYS = {
    "deployment in the base URL": ("/openai/deployments/my-deployment", None, {}),
    "whole address": (f"{AZURE}?api-version=2024-10-21", None, {"query": {}}),
    "path": ("", AZURE, {}),
    "httpx": ("/openai/deployments/my-deployment", None, {"driver": "httpx"}),
    "openai": ("/openai/deployments/my-deployment", None, {"driver": "openai"}),
}


@pytest.mark.parametrize(("base", "path", "more"), WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("models", [None, 401, 403])
def test_azure(base, path, more, models, tmp_path, monkeypatch):
    """api-key, api-version and the deployment's route; no listing of models, whatever it says to one who asks."""
    monkeypatch.setenv("AZURE_KEY", SECRET)
    monkeypatch.setenv("OPENAI_API_KEY", "of-another-server-0123")
    with Gateway(AZURE, {"api-key": SECRET}, {"api-version": "2024-10-21"}, models) as azure:
        server = {
            "base_url": azure.base_url + base, "model": "gpt-4o", "path": path, "headers": {"api-key": "env:AZURE_KEY"},
            "query": more.get("query", {"api-version": "2024-10-21"}),
        }  # fmt: skip
        _, found = run(
            spec_of("", [2], server=server, load={"driver": more.get("driver", "wire")}), SET, tmp_path / "r"
        )
    assert column(found, "status") == ["ok"] * 6
    assert column(found, "output_tokens") == [2] * 6
    posted = [request for request in azure.asked if request.method == "POST"]
    assert not any("authorization" in request.headers for request in azure.asked)
    assert {request.json["model"] for request in posted} == {"gpt-4o"}


def test_a_gateway_below_a_prefix(tmp_path):
    """As OpenRouter's: a key, headers that say who asks, and a prefix before the version."""
    headers = {"http-referer": "https://example.com", "x-title": "load test", "user-agent": "me/1", "host": "inner"}
    with Gateway("/api/v1/chat/completions", headers, {}) as gateway:
        server = {"base_url": f"{gateway.base_url}/api/v1", "model": "m", "headers": headers}
        sampling = {"temperature": 0.5, "seed": 3, "stop": ["END"], "system_prompt": "Be brief."}
        body = {"provider": {"order": ["a"]}}
        _, found = run(spec_of("", [2], server=server | {"extra_body": body}, sampling=sampling), SET, tmp_path / "run")
    assert column(found, "status") == ["ok"] * 6
    fields = [request.json for request in gateway.asked if request.method == "POST"]
    assert {(one["temperature"], one["seed"], *one["stop"], *one["provider"]["order"]) for one in fields} == {
        (0.5, 3, "END", "a")
    }
    assert {one["messages"][0]["content"].partition("] ")[2] for one in fields} == {"Be brief."}
    shown = dict(facts(judge_run(found)))
    assert (shown["sent temperature"], shown["sent headers.x-title"]) == ("0.5", "load test")
    assert "sent top_p" not in shown


@pytest.mark.parametrize("workers", [1, 2])
def test_a_secret_is_nowhere_in_the_run(workers, tmp_path, monkeypatch):
    """The server says it back in every place that is kept; the fallback has headers of its own, and gets no other's."""
    monkeypatch.setattr("benchsuite.redact._keys", [])
    monkeypatch.setenv("KEY_A", SECRET)
    monkeypatch.setenv("KEY_B", SPARE)
    route = "/v1/chat/completions"
    own, api = Gateway(route, {"x-key": SECRET}, {"code": SECRET}, busy=True), Gateway(route, {"x-key": SPARE}, {})
    with own, api:
        fallback = {"base_url": api.base_url, "model": "big", "headers": {"x-key": "env:KEY_B"}}
        server = {"base_url": own.base_url, "model": "m", "headers": {"x-key": "env:KEY_A"}}
        server |= {"query": {"code": "env:KEY_A"}, "fallback": fallback}
        spec = spec_of("", [2], workers=workers, server=server, workload={"save_text": True})
        _, found = run(spec, SET, tmp_path / "run")
    assert set(column(found, "endpoint")) == {own.base_url, api.base_url}
    assert set(column(found, "text")) == {"[API key]b"}
    for file in (tmp_path / "run").rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert SECRET.encode() not in content, file
        assert SPARE.encode() not in content, file
    everything = json.dumps(found.table.to_pylist(), default=str) + json.dumps(found.manifest.plain())
    assert not any(secret[:16] in everything for secret in (SECRET, SPARE))
    assert not any(SPARE in str(request) for request in own.asked)
    assert not any(SECRET in str(request) for request in api.asked)


@pytest.mark.parametrize("model", [None, "m"])
def test_a_wrong_key(model, monkeypatch, tmp_path):
    """The header that was sent is named, with the way to give another, and not what was in it."""
    monkeypatch.setenv("AZURE_KEY", SECRET)
    with Gateway("/v1/chat/completions", {"api-key": "another"}, {}, models=401) as azure:
        server = {"base_url": azure.base_url, "model": model, "headers": {"api-key": "env:AZURE_KEY"}}
        with pytest.raises(ServerRefused) as refused:
            run(spec_of("", [2], server=server), SET, tmp_path / "run")
    assert refused.value.what == "the server does not accept the API key"
    assert "401" in str(refused.value.given)
    assert str(refused.value.given).endswith("api-key")
    assert "--header api-key=env:VARIABLE" in str(refused.value.hint)
    assert SECRET not in str(refused.value)


def test_what_a_route_does_not_know_is_refused(tmp_path):
    """Before anything is measured, by its flag: else the run would say that it had it."""
    with Gateway("/generate_stream", {}, {}) as tgi:
        server = {"base_url": tgi.base_url, "model": "m", "profile": "tgi", "endpoint": "native"}
        with pytest.raises(InputError) as refused:
            run(spec_of("", [2], server=server, sampling={"presence_penalty": 1}), SET, tmp_path / "run")
    assert refused.value.where == "--presence-penalty"
    assert not [request for request in tgi.asked if request.method == "POST"]


def test_own_system_prompts_are_counted():
    """The run says to how many the sweep's did not go, and what a cache could share with it."""
    own = ({"role": "system", "content": "Mine."}, {"role": "user", "content": "a"})
    workload = make_workload(
        "s", [Prompt("p0", None, own), Prompt("p1", None, None, "b"), Prompt("p2", None, None, "c")]
    )
    spec = spec_of("http://h:1", [1], server={"model": "m"}, sampling={"system_prompt": "x" * 99})
    found = new_manifest(spec, workload, None, None, Anchor(1, 1)).workload
    assert found.own_system_prompts == 1
    assert found.shared_prefix_ratio == pytest.approx(99 / (200 + len("system: Mine.\nuser: a")))


BASE = spec_of("http://h:1", [1], server={"model": "m", "headers": {"x-a": "1"}})
CHANGES = {
    "a header": ({"server": {"headers": {"x-a": "2"}}}, "protocol", "server.headers.x-a"),
    "a header more": ({"server": {"headers": {"x-a": "1", "x-b": "2"}}}, "protocol", "server.headers.x-b"),
    "the query": ({"server": {"query": {"v": "1"}}}, "address", "server.query"),
    "the route": ({"server": {"path": "/x"}}, "address", "server.path"),
    "a field": ({"server": {"extra_body": {"min_p": 0.1}}}, "workload", "server.extra_body"),
    "temperature": ({"sampling": {"temperature": 0}}, "workload", "sampling.temperature"),
    "stop": ({"sampling": {"stop": ["END"]}}, "workload", "sampling.stop"),
    "system prompt": ({"sampling": {"system_prompt": "x" * 999}}, "workload", "sampling.system_prompt"),
}


@pytest.mark.parametrize(("change", "group", "key"), CHANGES.values(), ids=CHANGES)
def test_what_is_sent_is_part_of_what_a_run_is(change, group, key):
    """A resume, a baseline, a matrix and a comparison see each change, by one rule."""
    server = {"model": "m", "headers": {"x-a": "1"}} | change.get("server", {})
    other = spec_of("http://h:1", [1], **(change | {"server": server}))
    new, before = (new_manifest(spec, SET, None, None, Anchor(1, 1)) for spec in (other, BASE))
    found = differences(new, before, probed=False)
    assert {(one.group, one.what.startswith(key), len(one.new) <= 200) for one in found} == {(group, True, True)}
