"""Before anything is measured: every server is found out and tried, and held against what the sweep will ask of it.

Uses the measuring client itself for the trial requests, so that what works here works under load.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchsuite.client.connection import Connection, Link, Target, resolve
from benchsuite.client.http import Exchange, WireError
from benchsuite.client.request import EncodedRequest, PointContext, record_steps
from benchsuite.client.request_body import BodyPlan, CacheBust, http_request
from benchsuite.client.stream import error_message, loads
from benchsuite.clock import now_ns
from benchsuite.errors import InputError, ServerRefused, ServerUnreachable
from benchsuite.load.server_probe import (
    limit_warnings,
    listed_models,
    recognise,
    recognise_refusal,
    server_facts,
    server_limits,
)
from benchsuite.load.virtual_users import has_token, limits_ns, no_token
from benchsuite.records import RequestRecord
from benchsuite.redact import remember_key
from benchsuite.servers import SERVERS
from benchsuite.servers.base import Server
from benchsuite.spec import SweepSpec
from benchsuite.telemetry.http import bounded_client
from benchsuite.telemetry.server_metrics import read_state
from benchsuite.workload.dataset import Prompt

_SHORT_BYTES = 2048  # an error is shorter than this; a longer stream is not searched for one


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the requests go. insecure: the TLS certificate is not checked."""

    family: int
    address: tuple[Any, ...]
    host: str
    host_header: str
    path: str
    tls: bool
    base_url: str
    insecure: bool = False
    api_key: str | None = field(default=None, repr=False)
    kernel_stamps: bool = True

    def target(self) -> Target:
        """The connection target, with a TLS context made here (it cannot cross processes)."""
        remember_key(self.api_key)  # in the process that will store what the server says
        context = None
        if self.tls:
            context = ssl.create_default_context()
            if self.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
        return Target(self.family, self.address, self.host, context, self.kernel_stamps)


@dataclass(frozen=True, slots=True)
class Fallback:
    """An API that takes what the own servers refuse.

    plan: how a prompt becomes its request. statuses: the HTTP answers that are refusals. max_waiting: requests that may
    wait at an own server before new ones go to the API untried; None does not look at the queue.
    """

    endpoint: Endpoint
    plan: BodyPlan
    statuses: frozenset[int]
    max_waiting: int | None = None
    closes_after_response: bool = False

    def refuses(self) -> Callable[[Exchange], bool]:
        """A function that knows an own server's refusal when it sees one.

        Text Generation Inference tells of its overload inside a stream with status 200: that is its 429.
        """
        statuses, in_streams = self.statuses, 429 in self.statuses

        def refused(exchange: Exchange) -> bool:
            if exchange.error is not None and exchange.error.status in ("timeout", "cancelled", "connect_error"):
                return False
            if exchange.status in statuses:
                return True
            if not in_streams or exchange.status != 200 or len(exchange.data) > _SHORT_BYTES:
                return False
            return b"overloaded" in exchange.data and b'"error"' in exchange.data

        return refused


def encode_requests(
    order: Sequence[int], prompts: Sequence[Prompt], plan: BodyPlan, endpoint: Endpoint
) -> list[EncodedRequest]:
    """The requests of `order` as bytes on the wire."""
    encoded: dict[int, EncodedRequest] = {}
    for i in set(order):
        prompt = prompts[i]
        wire = http_request(
            endpoint.path, endpoint.host_header, plan.body(prompt), api_key=endpoint.api_key, stream=plan.stream
        )
        encoded[i] = EncodedRequest(wire, prompt.prompt_id, prompt.scenario, plan.asked_output_tokens(prompt))
    return [encoded[i] for i in order]


TRIAL_TOKENS = 8
_LOOK_S = 0.1
# what a request can do without, in the order in which it is left out
# fields that are not in OpenAI's protocol, or newer than some servers; the longer of two names that begin alike first
_REFUSABLE = sorted(
    {"stream_options"}
    | {key for server in SERVERS.values() for key in (*server.fixed_length, *server.cache_off_fields)}
    | {server.cache_salt_field for server in SERVERS.values() if server.cache_salt_field},
    reverse=True,
)
_LONG_ERROR = 20_000
PAUSES_S = (0.25, 0.5, 1.0, 2.0)  # a server that is full, or still loads its model, is asked again
_ENDPOINT_WORDS = {
    "chat": "a complete chat completion",
    "completions": "a complete text completion",
    "native": "a complete answer of the server's native route",
}


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What the probe requests showed. rows: of those that worked. longest: of the longest request, None if not sent.

    plan: as given, without what the server refused. refusals: the server's words for each such field. headers: what
    Exchange.kept_headers held.
    """

    rows: list[RequestRecord]
    longest: RequestRecord | None
    plan: BodyPlan
    refusals: dict[str, str]
    closes_after_response: bool
    headers: dict[str, str]


async def try_requests(
    endpoint: Endpoint, plan: BodyPlan, spec: SweepSpec, prompt: Prompt, longest: Prompt | None
) -> ProbeResult:
    """Send `prompt` without what the server refuses by name; twice, to learn its keep-alive; then `longest`.

    A refusal for being busy is tried again for some seconds.
    `plan`: the sweep's own; the trial asks for no more than TRIAL_TOKENS tokens. Raises ServerUnreachable,
    ServerRefused when `prompt` fails; a `longest` that fails is only reported.
    """
    link = Link(asyncio.get_running_loop(), endpoint.target(), spec.timeouts.connect_s)
    connection = Connection(link)
    rows: list[RequestRecord] = []
    refusals: dict[str, str] = {}
    headers: dict[str, str] = {}
    pauses_s = list(PAUSES_S)
    try:
        while len(rows) < 2:
            row, exchange = await _send_one(connection, endpoint, plan, spec, prompt)
            found = _without_refused(plan, row, exchange)
            if found is not None:
                plan, name = found
                refusals[name] = row.error or ""
                continue
            if _is_busy(row) and pauses_s:
                await asyncio.sleep(pauses_s.pop(0))
                continue
            if row.status != "ok":
                raise _refusal(row, endpoint, spec)
            rows.append(row)
            headers = exchange.kept_headers
        last = (await _send_one(connection, endpoint, plan, spec, longest))[0] if longest else None
        return ProbeResult(rows, last, plan, refusals, link.closes_after_response, headers)
    finally:
        connection.close()


async def _send_one(
    connection: Connection, endpoint: Endpoint, plan: BodyPlan, spec: SweepSpec, prompt: Prompt
) -> tuple[RequestRecord, Exchange]:
    plan = replace(plan, max_output_tokens=min(TRIAL_TOKENS, plan.max_output_tokens or TRIAL_TOKENS))
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
            await _until_done(connection, exchange, done, spec)
        except WireError as error:
            exchange.error = error
        if exchange.error is None or not exchange.error.stale:
            break
        exchange.reset_for_retry()
        done.clear()
    rows: list[RequestRecord] = []
    encoded = EncodedRequest(wire, prompt.prompt_id, prompt.scenario, plan.asked_output_tokens(prompt))
    for _ in record_steps(exchange, encoded, context, rows):
        pass
    return rows[0], exchange


async def _until_done(connection: Connection, exchange: Exchange, done: asyncio.Event, spec: SweepSpec) -> None:
    """Wait for the end of the exchange, which the sweep's own limits bring about if the server does not."""
    idle_ns, request_ns, first_token_ns = limits_ns(spec.timeouts)
    told = not spec.server.stream
    while not done.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                await done.wait()
        at_ns = now_ns()
        why = connection.overdue(at_ns, idle_ns, request_ns)
        if why is None and not told and not done.is_set() and at_ns - exchange.sent_ns > first_token_ns:
            told = has_token(exchange)
            why = None if told else no_token(first_token_ns)
        if why is not None:
            connection.abort("timeout", why)


def _is_busy(row: RequestRecord) -> bool:
    """True for 429 and 503; TGI tells of its overload inside a stream."""
    overloaded = row.status == "stream_error" and "overloaded" in (row.error or "")
    return overloaded or (row.status == "http_error" and row.http_status in (429, 503))


def _without_refused(plan: BodyPlan, row: RequestRecord, exchange: Exchange) -> tuple[BodyPlan, str] | None:
    """The plan without the field that a 400 or 422 names, and that field; None if it names none that can go."""
    if row.status != "http_error" or row.http_status not in (400, 422):
        return None
    said = refusal_words(b"".join(exchange.body_parts))
    if plan.limit_field == "max_tokens" and "max_completion_tokens" in said and "max_tokens" in said:
        return replace(plan, limit_field="max_completion_tokens"), "max_tokens"
    name = next((name for name in _REFUSABLE if name not in plan.dropped and name in said), None)
    if name is None:
        return None
    # a cache that cannot be keyed by a field is kept out by the prompt
    bust: CacheBust = "prompt" if name == plan.profile.cache_salt_field else plan.cache_bust
    return replace(plan, dropped=(*plan.dropped, name), cache_bust=bust), name


def refusal_words(body: bytes) -> str:
    """All that an error body says, but for the request that it quotes: FastAPI's `input` repeats every field's name."""
    try:
        tree = loads(body)
    except ValueError:
        return error_message(body, _LONG_ERROR)
    return str(_without_input(tree))


def _without_input(tree: Any, depth: int = 0) -> Any:
    if depth > 20:
        return None
    if isinstance(tree, dict):
        return {key: _without_input(value, depth + 1) for key, value in tree.items() if key not in ("input", "ctx")}
    return [_without_input(item, depth + 1) for item in tree] if isinstance(tree, list) else tree


def _refusal(row: RequestRecord, endpoint: Endpoint, spec: SweepSpec) -> Exception:
    where = f"{spec.server.base_url} {endpoint.path}"
    if row.status == "connect_error":
        return ServerUnreachable("the server cannot be reached", where=where, given=row.error)
    hint = "check --model and --profile; a request like those of the sweep must work once before it is measured"
    if _is_busy(row):
        hint = "it says that it is busy: others use it, or it still loads; wait until it is free, then measure it alone"
    return ServerRefused(
        "the server does not answer the sweep's own request",
        where=where,
        given=f"{row.status}: {row.error}",
        expected=_ENDPOINT_WORDS[spec.server.endpoint],
        hint=hint,
    )


_LONGEST_KEY = 4096


@dataclass(frozen=True, slots=True)
class Preflight:
    """What the server turned out to be. facts: the same for the manifest.

    endpoints: the own servers, in the order of the spec, all alike. fallback: the API for what they refuse.
    """

    profile: Server
    model: str
    endpoints: tuple[Endpoint, ...]
    plan: BodyPlan
    closes_after_response: bool
    facts: dict[str, Any]
    fallback: Fallback | None = None

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
    return with_server(spec, base_url=base_url, more_base_urls=(), fallback=None)


def with_server(spec: SweepSpec, **changes: Any) -> SweepSpec:
    return spec.model_copy(update={"server": spec.server.model_copy(update=changes)})


def api_key(spec: SweepSpec) -> str | None:
    """The key in the file that the spec names, else in the environment variable, or None; remembered as a secret.

    Raises InputError for a file that cannot be read, or if no header can carry the key.
    """
    file = spec.server.api_key_file
    key = os.environ.get(spec.server.api_key_env, "").strip() if file is None else _key_in(Path(file).expanduser())
    if not (key.isascii() and key.isprintable()):
        raise InputError(
            "the API key holds a character that no HTTP header can carry",
            where=key_source(spec),
            expected="printable ASCII on one line",
        )
    remember_key(key)
    return key or None


def key_source(spec: SweepSpec) -> str:
    """Where the key comes from, in words; never the key."""
    return f"${spec.server.api_key_env}" if spec.server.api_key_file is None else spec.server.api_key_file


def key_file_warnings(spec: SweepSpec) -> list[str]:
    """A sentence for each file of a key that others on this machine can read."""
    fallback = spec.server.fallback
    files = [spec.server.api_key_file, fallback.api_key_file if fallback else None]
    return [
        f"others on this machine can read the API key in {file}; chmod 600 {file}"
        for file in files
        if file is not None and Path(file).expanduser().stat().st_mode & 0o077
    ]


def _key_in(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST_KEY + 1).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        given = error.strerror if isinstance(error, OSError) else "no text"
        raise InputError("the file of the API key cannot be read", where=str(path), given=given) from None
    if not content or len(content) > _LONGEST_KEY:
        raise InputError("the file of the API key holds no key", where=str(path), expected="the key on one line")
    return content


def control_client(spec: SweepSpec) -> httpx.Client:
    """The client for everything that is not under load: straight to the server, within limits (telemetry.bounded)."""
    key = api_key(spec)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return bounded_client(
        spec.server.base_url, headers=headers, timeout_s=spec.timeouts.connect_s, verify=not spec.server.insecure
    )


def _run_async(coroutine: Coroutine[Any, Any, ProbeResult]) -> ProbeResult:
    """asyncio.run, also in a thread whose event loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    trial = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        return trial.result()
    finally:
        trial.cancel()  # after an interrupt
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def find_out(spec: SweepSpec, client: httpx.Client, prompts: tuple[Prompt, ...]) -> Preflight:
    """Find one server out and try the sweep's own requests."""
    answer = models_response(client, spec)
    listed = listed_models(answer)
    auto = spec.server.profile == "auto"
    profile = recognise(client, answer, listed) if auto else SERVERS[spec.server.profile]
    _check_endpoint(spec, profile)
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
    longest = max(prompts, key=_length)
    much_longer = _length(longest) > 2 * _length(prompts[0])
    trial = _run_async(try_requests(endpoint, plan, spec, prompts[0], longest if much_longer else None))
    if auto and profile.recognise is None:
        profile = recognise_refusal(str(trial.refusals)) or profile
    plan = replace(trial.plan, profile=profile)
    facts = _facts(trial, plan, listed) | {"server": server_facts(client, profile)}
    facts["longest"] = _longest_facts(trial, longest if much_longer else prompts[0], plan)
    return Preflight(profile, model, (endpoint,), plan, trial.closes_after_response, facts)


def _facts(trial: ProbeResult, plan: BodyPlan, listed: list[str] | None) -> dict[str, Any]:
    row = trial.rows[-1]
    sent = [*trial.rows, *([trial.longest] if trial.longest else [])]
    return {
        "profile": plan.profile.name,
        "model": plan.model,
        "models_listed": listed,
        "streams": row.first_token_s is not None,
        "reports_usage": row.token_source == "usage",
        "asked_output_tokens": row.asked_output_tokens,
        "got_output_tokens": row.output_tokens,
        "finish_reason": row.finish_reason,
        "fields_refused": list(trial.refusals),
        "limit_field": plan.limit_field,
        "cache_bust": plan.cache_bust,
        "closes_after_response": trial.closes_after_response,
        "stamp_source": row.stamp_source,
        "requests": len(sent),
        "output_tokens": sum(r.output_tokens or 0 for r in sent),
        "headers": trial.headers,
    }


def _longest_facts(trial: ProbeResult, prompt: Prompt, plan: BodyPlan) -> dict[str, Any]:
    """The set's longest request: its tokens as the server counts them, the tokens it will ask for, its refusal."""
    row = trial.longest or trial.rows[-1]
    return {
        "prompt_id": prompt.prompt_id,
        "input_tokens": row.input_tokens,
        "asked_output_tokens": plan.asked_output_tokens(prompt),
        "refused": None if row.status == "ok" else f"{row.status}: {row.error}",
    }


def _length(prompt: Prompt) -> int:
    return len(prompt.prompt or "") + sum(len(message["content"]) for message in prompt.messages or ())


def models_response(client: httpx.Client, spec: SweepSpec) -> httpx.Response:
    """The response of /v1/models. Raises ServerUnreachable, ServerRefused (the API key)."""
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
            given=f"HTTP {answer.status_code}; {'a' if api_key(spec) else 'no'} key from {key_source(spec)}",
            hint=f"put the key into the environment variable {spec.server.api_key_env}, or name a file: --api-key-file",
        )
    return answer


def _check_endpoint(spec: SweepSpec, profile: Server) -> None:
    """Refuse the native route of a server that has none, and a client that cannot speak it."""
    if spec.server.endpoint != "native":
        return
    if profile.native is None:
        speak = [server.name for server in SERVERS.values() if server.native]
        raise InputError(
            f"the profile {profile.name} has no native route that benchsuite speaks",
            where="--endpoint (server.endpoint)",
            given="native",
            expected=f"chat or completions; native for {' and '.join(speak)}",
        )
    if spec.load.driver == "openai":
        raise InputError(
            "the openai client speaks no native route",
            where="--driver (load.driver)",
            given="openai with --endpoint native",
            expected="wire, httpx or httpx-shared",
        )


def _choose_model(spec: SweepSpec, profile: Server, listed: list[str] | None) -> str:
    wanted = spec.server.model
    if wanted is None:
        if listed and len(listed) == 1:
            return listed[0]
        raise InputError(
            "which model? the server lists " + (f"{len(listed)}" if listed else "none"),
            where="--model (server.model)",
            given="nothing",
            expected=f"one of {', '.join(listed)}" if listed else "the model's name as the server knows it",
            hint=None
            if listed
            else f"check the URL: none at {spec.server.base_url}/v1/models; or name it with --model",
        )
    if listed and profile.lists_its_model and wanted not in listed and f"{wanted}:latest" not in listed:
        raise ServerRefused(
            "the server does not have the model",
            where=f"{spec.server.base_url}/v1/models",
            given=wanted,
            expected=f"one of {', '.join(listed)}",
        )
    return wanted


def _cache_bust(spec: SweepSpec, profile: Server) -> CacheBust:
    wanted = spec.workload.cache_bust
    if wanted == "auto":
        return "field" if profile.cache_salt_field and spec.server.endpoint != "native" else "prompt"
    if wanted == "field" and not (profile.cache_salt_field or profile.cache_off_fields):
        raise InputError(
            f"the profile {profile.name} has no request field that keys its prefix cache, or switches it off",
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
        kernel_stamps=spec.load.kernel_timestamps,
    )


def _connects(family: int, address: tuple[Any, ...], timeout_s: float) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout_s)
        return sock.connect_ex(address) == 0


def preflight(
    spec: SweepSpec, client: httpx.Client, prompts: tuple[Prompt, ...], launched_server: dict[str, Any] | None = None
) -> Preflight:
    """Find every server out and try the sweep's own requests. Raises ServerUnreachable, ServerRefused, InputError.

    launched_server: facts of a server that we started ourselves. facts["capacity"]: what the servers can take, and in
    `warnings` the words for what the sweep asks beyond that.
    """
    found = find_out(spec, client, prompts)
    capacity = server_limits(client, found.profile, found.facts, launched_server)
    capacity["warnings"] = limit_warnings(
        found.profile, spec.load.concurrency, capacity, found.facts["longest"], len(spec.server.base_urls)
    )
    capacity["warnings"] += key_file_warnings(spec)
    others = []
    for url in spec.server.more_base_urls:
        there = spec_at(spec, url)
        with control_client(there) as other:
            others.append(find_out(there, other, prompts))
        _refuse_unlike(found, others[-1])
    fallback = _fallback(spec, found, prompts)
    all_of = (found, *others)
    more = [one.facts | {"base_url": one.endpoints[0].base_url} for one in others]
    # where one replica wants the newer name, all must know it: they are one service
    limit_fields = [one.plan.limit_field for one in all_of if one.plan.limit_field != "max_tokens"]
    return replace(
        found,
        plan=replace(
            found.plan,
            dropped=tuple(dict.fromkeys(name for one in all_of for name in one.plan.dropped)),
            limit_field=limit_fields[0] if limit_fields else found.plan.limit_field,
        ),
        closes_after_response=any(one.closes_after_response for one in all_of),
        facts=found.facts | {"capacity": capacity} | ({"more_endpoints": more} if more else {}),
        endpoints=tuple(endpoint for one in all_of for endpoint in one.endpoints),
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
                where=" and ".join(one.endpoints[0].base_url for one in (first, other)),
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
                expected="one of " + ", ".join(server.title for server in SERVERS.values() if server.metrics),
                hint="leave the queue out: 429 and 503 alone",
            )
    there = with_server(
        spec,
        base_url=asked.base_url,
        more_base_urls=(),
        fallback=None,
        model=asked.model,
        profile="openai",
        endpoint="completions" if spec.server.endpoint == "completions" else "chat",
        api_key_env=asked.api_key_env,
        api_key_file=asked.api_key_file,
        extra_body=spec.server.extra_body if asked.extra_body is None else asked.extra_body,
        insecure=False,
    )
    bust: CacheBust = "off" if found.plan.cache_bust == "off" else "prompt"
    there = there.model_copy(update={"workload": there.workload.model_copy(update={"cache_bust": bust})})
    with control_client(there) as api:
        tried = find_out(there, api, prompts)
    statuses = frozenset(int(word) for word in asked.on if word != "queue")
    return Fallback(tried.endpoints[0], tried.plan, statuses, asked.max_waiting, tried.closes_after_response)
