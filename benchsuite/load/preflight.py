"""Before anything is measured: which server is it, does it have the model, does it stream, count, obey?

Uses the measuring client itself for the trial requests, so that what works here works under load.
"""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchsuite.client.exchange import Exchange, WireError
from benchsuite.client.request import PointContext, Prepared, record_steps
from benchsuite.client.servers import PROFILES, BodyPlan, CacheBust, ServerProfile, http_request
from benchsuite.client.wire import Connection, Link, resolve
from benchsuite.clock import now_ns
from benchsuite.errors import InputError, ServerRefused, ServerUnreachable
from benchsuite.load.endpoints import Endpoint, Fallback
from benchsuite.records import RequestRecord
from benchsuite.spec import SweepSpec
from benchsuite.telemetry.server import read_state
from benchsuite.workload.prompts import Prompt

_TRIAL_TOKENS = 8
_REFUSABLE = ("stream_options", "cache_salt", "min_tokens", "ignore_eos")


@dataclass(frozen=True, slots=True)
class Preflight:
    """What the server turned out to be. facts: the same for the manifest.

    endpoint: the first, more_endpoints: the other own servers, all alike. fallback: the API for what they refuse.
    """

    profile: ServerProfile
    model: str
    endpoint: Endpoint
    plan: BodyPlan
    closes_after_response: bool
    facts: dict[str, Any]
    more_endpoints: tuple[Endpoint, ...] = ()
    fallback: Fallback | None = None

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """All own servers, in the order of the spec."""
        return (self.endpoint, *self.more_endpoints)

    @property
    def roles(self) -> list[dict[str, str]]:
        """Every base URL that rows may name, for the manifest: {base_url, role own or fallback, model}."""
        own = [{"base_url": e.base_url, "role": "own", "model": self.model} for e in self.endpoints]
        if self.fallback is None:
            return own
        api = self.fallback
        return [*own, {"base_url": api.endpoint.base_url, "role": "fallback", "model": api.plan.model}]


def spec_at(spec: SweepSpec, base_url: str) -> SweepSpec:
    """The spec as for the one own server at base_url."""
    return _with_server(spec, base_url=base_url, more_base_urls=(), fallback=None)


def _with_server(spec: SweepSpec, **changes: Any) -> SweepSpec:
    return spec.model_copy(update={"server": spec.server.model_copy(update=changes)})


def api_key(spec: SweepSpec) -> str | None:
    """The key in the environment variable that the spec names, or None. Raises InputError if no header can carry it."""
    key = os.environ.get(spec.server.api_key_env, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise InputError(
            "the API key holds a character that no HTTP header can carry",
            where=f"${spec.server.api_key_env}",
            expected="printable ASCII on one line",
        )
    return key or None


def control_client(spec: SweepSpec) -> httpx.Client:
    """The client for everything that is not under load."""
    key = api_key(spec)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(
        base_url=spec.server.base_url, headers=headers, timeout=spec.timeouts.connect_s, verify=not spec.server.insecure
    )


def preflight(spec: SweepSpec, client: httpx.Client, prompts: tuple[Prompt, ...]) -> Preflight:
    """Find every server out and try the sweep's own requests. Raises ServerUnreachable, ServerRefused, InputError."""
    found = _find_out(spec, client, prompts)
    others = []
    for url in spec.server.more_base_urls:
        there = spec_at(spec, url)
        with control_client(there) as other:
            others.append(_find_out(there, other, prompts))
        _refuse_unlike(found, others[-1])
    fallback = _fallback(spec, found, prompts)
    dropped = dict.fromkeys(name for one in (found, *others) for name in one.plan.dropped)
    return replace(
        found,
        plan=replace(found.plan, dropped=tuple(dropped)),
        closes_after_response=any(one.closes_after_response for one in (found, *others)),
        facts=found.facts
        | ({"more_endpoints": [one.facts | {"base_url": one.endpoint.base_url} for one in others]} if others else {}),
        more_endpoints=tuple(one.endpoint for one in others),
        fallback=fallback,
    )


def _refuse_unlike(first: Preflight, other: Preflight) -> None:
    """Several endpoints are one service: the same model on the same kind of server."""
    pairs = {
        "model": (first.model, other.model),
        "model_id": (first.facts["server"].get("model_id"), other.facts["server"].get("model_id")),
        "kind of server": (first.profile.name, other.profile.name),
    }
    for what, (here, there) in pairs.items():
        if here != there:
            raise ServerRefused(
                f"the base URLs do not lead to the same {what}",
                where=f"{first.endpoint.base_url} and {other.endpoint.base_url}",
                given=f"{here} and {there}",
                expected="replicas of one server",
                hint="measure them in sweeps of their own, or name --model and --profile",
            )


def _fallback(spec: SweepSpec, found: Preflight, prompts: tuple[Prompt, ...]) -> Fallback | None:
    """The API for what the own servers refuse, tried as they were."""
    asked = spec.server.fallback
    if asked is None:
        return None
    if spec.load.driver == "openai":
        raise InputError(
            "the openai client does not show the answers that a fallback acts on",
            where="load.driver (--driver)",
            given="openai",
            expected="wire, httpx or httpx-shared",
        )
    for url in spec.server.base_urls if "queue" in asked.on else ():
        with control_client(spec_at(spec, url)) as own:
            state = read_state(own, found.profile)
        if state is None or state.waiting is None:
            raise InputError(
                "the server does not tell how many requests wait, so a full queue cannot be seen",
                where="server.fallback.max_waiting (--fallback-max-waiting)",
                given=f"{url} ({found.profile.name})",
                expected="a server with that gauge in its /metrics (vLLM, TGI, llama.cpp with --metrics)",
                hint="leave the queue out: 429 and 503 alone",
            )
    there = _with_server(
        spec,
        base_url=asked.base_url,
        more_base_urls=(),
        fallback=None,
        model=asked.model,
        profile="openai",
        endpoint="completions" if spec.server.endpoint == "completions" else "chat",
        api_key_env=asked.api_key_env,
        extra_body=spec.server.extra_body if asked.extra_body is None else asked.extra_body,
        insecure=False,
    )
    bust: CacheBust = "off" if found.plan.cache_bust == "off" else "prompt"
    there = there.model_copy(update={"workload": there.workload.model_copy(update={"cache_bust": bust})})
    with control_client(there) as api:
        tried = _find_out(there, api, prompts)
    statuses = frozenset(int(word) for word in asked.on if word != "queue")
    return Fallback(tried.endpoint, tried.plan, statuses, asked.max_waiting, tried.closes_after_response)


def _find_out(spec: SweepSpec, client: httpx.Client, prompts: tuple[Prompt, ...]) -> Preflight:
    """Find one server out and try the sweep's own requests."""
    listed, models_answer = _list_models(client, spec)
    profile = PROFILES[spec.server.profile] if spec.server.profile != "auto" else _detect(client, models_answer, listed)
    model = _choose_model(spec, profile, listed)
    bust: CacheBust = _cache_bust(spec, profile)
    plan = BodyPlan(
        profile=profile,
        model=model,
        endpoint=spec.server.endpoint,
        stream=spec.server.stream,
        fixed_length=spec.workload.fixed_length,
        max_output_tokens=spec.workload.max_output_tokens,
        cache_bust=bust,
        salt="preflight",
        extra_body=spec.server.extra_body,
    )
    endpoint = _endpoint(spec, plan)
    trial = asyncio.run(_trial(endpoint, replace(plan, max_output_tokens=_trial_limit(plan)), spec, prompts[0]))
    plan = replace(plan, dropped=trial.dropped)
    row = trial.rows[-1]
    tokens = sum(r.output_tokens or 0 for r in trial.rows)
    facts = {
        "profile": profile.name,
        "model": model,
        "models_listed": listed,
        "streams": row.first_token_s is not None,
        "reports_usage": row.token_source == "usage",
        "asked_output_tokens": row.asked_output_tokens,
        "got_output_tokens": row.output_tokens,
        "finish_reason": row.finish_reason,
        "fields_refused": list(trial.dropped),
        "cache_bust": bust,
        "closes_after_response": trial.closes_after_response,
        "stamp_source": row.stamp_source,
        "requests": len(trial.rows),
        "output_tokens": tokens,
        "server": _server_facts(client, profile),
    }
    return Preflight(profile, model, endpoint, plan, trial.closes_after_response, facts)


def _trial_limit(plan: BodyPlan) -> int:
    return min(_TRIAL_TOKENS, plan.max_output_tokens or _TRIAL_TOKENS)


def _list_models(client: httpx.Client, spec: SweepSpec) -> tuple[list[str] | None, Any]:
    """Model ids of /v1/models, or None where the server does not list them; and the answer itself."""
    try:
        answer = client.get("/v1/models")
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise ServerUnreachable(
            "the server cannot be reached",
            where=f"{spec.server.base_url}/v1/models",
            given=f"{type(error).__name__}: {error}",
            expected="an OpenAI-compatible server",
            hint="start it, or check --base-url; `benchsuite serve llamacpp` starts one to try",
        ) from None
    if answer.status_code in (401, 403):
        raise ServerRefused(
            "the server does not accept the API key",
            where=f"{spec.server.base_url}/v1/models",
            given=f"HTTP {answer.status_code}; {'a' if api_key(spec) else 'no'} key from ${spec.server.api_key_env}",
            hint=f"put the key into the environment variable {spec.server.api_key_env}",
        )
    try:
        tree = answer.json() if answer.status_code == 200 else None
        models = [str(item["id"]) for item in tree["data"]] if tree else None
    except (ValueError, KeyError, TypeError):
        models = None
    return models, answer


def _detect(client: httpx.Client, answer: httpx.Response, listed: list[str] | None) -> ServerProfile:
    """Which profile the server fits: by who owns its models, its own paths, its headers."""
    text = answer.text if listed is not None else ""
    if '"vllm"' in text:
        return PROFILES["vllm"]
    if '"llamacpp"' in text or "llama.cpp" in answer.headers.get("server", ""):
        return PROFILES["llamacpp"]
    if '"library"' in text and _answers(client, "/api/version"):
        return PROFILES["ollama"]
    if _answers(client, "/info", "max_concurrent_requests"):
        return PROFILES["tgi"]
    if _answers(client, "/api/version", "version"):
        return PROFILES["ollama"]
    if _answers(client, "/metrics", "vllm:"):
        return PROFILES["vllm"]
    if listed is None and "uvicorn" in answer.headers.get("server", ""):
        return PROFILES["transformers"]
    return PROFILES["openai"]


def _answers(client: httpx.Client, path: str, needle: str = "") -> bool:
    try:
        answer = client.get(path)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and needle in answer.text


def _choose_model(spec: SweepSpec, profile: ServerProfile, listed: list[str] | None) -> str:
    wanted = spec.server.model
    if wanted is None:
        if listed and len(listed) == 1:
            return listed[0]
        raise InputError(
            "which model? the server lists " + (f"{len(listed)}" if listed else "none"),
            where="--model (server.model)",
            given="nothing",
            expected=f"one of {', '.join(listed)}" if listed else "the model's name as the server knows it",
        )
    if listed and profile.lists_its_model and wanted not in listed and f"{wanted}:latest" not in listed:
        raise ServerRefused(
            "the server does not have the model",
            where=f"{spec.server.base_url}/v1/models",
            given=wanted,
            expected=f"one of {', '.join(listed)}",
        )
    return wanted


def _cache_bust(spec: SweepSpec, profile: ServerProfile) -> CacheBust:
    wanted = spec.workload.cache_bust
    if wanted == "auto":
        return "field" if profile.cache_salt_field else "prompt"
    if wanted == "field" and not profile.cache_salt_field:
        raise InputError(
            f"the profile {profile.name} has no request field that keys its prefix cache",
            where="workload.cache_bust",
            given="field",
            expected="prompt, off or auto",
        )
    return wanted


def _endpoint(spec: SweepSpec, plan: BodyPlan) -> Endpoint:
    parts = urlsplit(spec.server.base_url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        targets = resolve(host, port, None)
    except OSError as error:
        raise ServerUnreachable("the host name does not resolve", where=host, given=str(error)) from None
    target = next((t for t in targets if _connects(t.family, t.address, spec.timeouts.connect_s)), targets[0])
    return Endpoint(
        family=target.family,
        address=target.address,
        host=host,
        host_header=parts.netloc,
        path=parts.path + plan.path,
        tls=parts.scheme == "https",
        base_url=spec.server.base_url,
        insecure=spec.server.insecure,
        api_key=api_key(spec),
        kernel_stamps=spec.load.kernel_stamps,
    )


def _connects(family: int, address: tuple[Any, ...], timeout_s: float) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout_s)
        return sock.connect_ex(address) == 0


@dataclass(frozen=True, slots=True)
class _Trial:
    rows: list[RequestRecord]
    dropped: tuple[str, ...]
    closes_after_response: bool


async def _trial(endpoint: Endpoint, plan: BodyPlan, spec: SweepSpec, prompt: Prompt) -> _Trial:
    """Send the sweep's own kind of request without what the server refuses by name; twice, to learn its keep-alive."""
    link = Link(asyncio.get_running_loop(), endpoint.target(), spec.timeouts.connect_s)
    connection = Connection(link)
    rows: list[RequestRecord] = []
    dropped: list[str] = []
    try:
        while True:
            row = await _send_one(connection, endpoint, replace(plan, dropped=tuple(dropped)), spec, prompt)
            refused = _refused_field(row, dropped)
            if refused:
                dropped.append(refused)
                continue
            rows.append(row)
            if row.status != "ok":
                raise _refusal(row, endpoint, spec)
            if len(rows) == 2:
                return _Trial(rows, tuple(dropped), link.closes_after_response)
    finally:
        connection.close()


async def _send_one(
    connection: Connection, endpoint: Endpoint, plan: BodyPlan, spec: SweepSpec, prompt: Prompt
) -> RequestRecord:
    wire = http_request(
        endpoint.path, endpoint.host_header, plan.body(prompt), api_key=endpoint.api_key, stream=plan.stream
    )
    context = PointContext("preflight", "preflight", 1, 0, 0, now_ns(), plan.stream)
    exchange = Exchange(0, now_ns())
    done = asyncio.Event()
    exchange.on_done = lambda _: done.set()
    for _ in range(2):
        try:
            if not connection.is_open:
                await connection.open()
            connection.send(wire, exchange)
            async with asyncio.timeout(spec.timeouts.request_s):
                await done.wait()
        except WireError as error:
            exchange.error = error
        except TimeoutError:
            connection.abort("timeout", f"no answer within {spec.timeouts.request_s:g} s")
        if exchange.error is None or not exchange.error.stale:
            break
        exchange.reset_for_retry()
        done.clear()
    rows: list[RequestRecord] = []
    prepared = Prepared(wire, prompt.prompt_id, prompt.scenario, plan.asked_output_tokens(prompt))
    for _ in record_steps(exchange, prepared, context, rows):
        pass
    return rows[0]


def _refused_field(row: RequestRecord, dropped: list[str]) -> str | None:
    """The optional field that a 4xx answer names, if it is one that we may leave out."""
    if row.status != "http_error" or row.http_status not in (400, 422):
        return None
    return next((name for name in _REFUSABLE if name not in dropped and name in (row.error or "")), None)


def _refusal(row: RequestRecord, endpoint: Endpoint, spec: SweepSpec) -> Exception:
    where = f"{spec.server.base_url} {endpoint.path}"
    if row.status == "connect_error":
        return ServerUnreachable("the server cannot be reached", where=where, given=row.error)
    return ServerRefused(
        "the server does not answer the sweep's own request",
        where=where,
        given=f"{row.status}: {row.error}",
        expected="a complete chat completion" if spec.server.endpoint == "chat" else "a complete text completion",
        hint="check --model and --profile; a request like those of the sweep must work once before it is measured",
    )


def _server_facts(client: httpx.Client, profile: ServerProfile) -> dict[str, Any]:
    """What the server says of itself, kept as it says it; left out where it does not."""
    paths = {"vllm": "/version", "llamacpp": "/props", "tgi": "/info", "ollama": "/api/version"}
    path = paths.get(profile.name)
    if path is None:
        return {}
    try:
        tree = client.get(path).json()
    except (httpx.HTTPError, ValueError):
        return {}
    if not isinstance(tree, dict):
        return {}
    # paths of the server's machine and its templates are nobody's business in a report
    private = ("path", "template", "token", "marker", "key")
    return {
        key: value
        for key, value in tree.items()
        if isinstance(value, str | int | float) and len(str(value)) < 300 and not any(word in key for word in private)
    }
