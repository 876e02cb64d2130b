"""Before anything is measured: every server is recognised, probed, and compared with what the sweep will ask of it.

Uses the measuring client itself for the probes, so that what works here works under load.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import socket
import threading
from array import array
from collections.abc import Iterator, MutableSequence, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import httpx
from anyio.from_thread import start_blocking_portal

from benchsuite.base_url import api_address
from benchsuite.client.connection import Connection, Link
from benchsuite.client.http import Endpoint, Exchange, WireError
from benchsuite.client.request import BodyPlan, CacheBust, PointContext, encode, record_steps
from benchsuite.client.stream import error_message, loads
from benchsuite.clock import now_ns
from benchsuite.errors import InputError, ServerRefused, ServerUnreachable, os_error_as
from benchsuite.level import as_plain
from benchsuite.limits import KIB, MIB, ResponseLimits
from benchsuite.load import server_probe
from benchsuite.load.schedule import open_files_needed, plan_points
from benchsuite.load.virtual_users import Preflight, abort_if_overdue, limits_ns
from benchsuite.records import RequestRecord
from benchsuite.redact import remembered_keys, shortened
from benchsuite.servers import SERVERS
from benchsuite.servers.base import Server, unknown_sampling
from benchsuite.spec import SweepSpec
from benchsuite.telemetry.host import raise_limit
from benchsuite.telemetry.server_metrics import read_state
from benchsuite.workload.dataset import Prompt, Workload, kinds_of_parts, prompt_texts
from benchsuite.workload.random_set import WORDS, RandomStream, TokensPerWord

PROBE_TOKENS = 8
PROBE_SALT = (
    "cafe1f1e1d00"  # in the form of the points' own (schedule.PointPlan.salt), so that it has about their tokens
)
PAUSES_S = (0.25, 0.5, 1.0, 2.0)  # a server that is full, or still loads its model, is asked again
_POLL_S, _QUEUE_POLL_S = 0.1, 0.25
_LONG_ERROR, _LONG_FIELDS = 20_000, 400
# fields that are not in OpenAI's protocol, or newer than some servers; a name before its own beginnings
_REFUSABLE = sorted(
    {"stream_options"}
    | {key for server in SERVERS.values() for key in (*server.fixed_length, *server.cache_off_fields)}
    | {server.cache_salt_field for server in SERVERS.values() if server.cache_salt_field},
    reverse=True,
)


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What the probes showed."""

    rows: list[RequestRecord]  # of those that worked
    longest: RequestRecord | None  # of the longest request, None if not sent
    plan: BodyPlan  # as given, without what the server refused
    refusals: dict[str, str]  # the server's words for each such field
    closes_after_response: bool
    body_lingers: bool  # as every probe's did
    headers: dict[str, str]  # Exchange.kept_headers


async def probe(
    endpoint: Endpoint,
    plan: BodyPlan,
    spec: SweepSpec,
    prompt: Prompt,
    longest: Prompt | None,
    strict: tuple[Endpoint, BodyPlan] | None = None,
) -> ProbeResult:
    """Send `prompt` without what the server refuses by name; twice, to learn its keep-alive; then `longest`.

    A refusal for being busy is tried again for some seconds. plan: the sweep's own; a probe asks for no more than
    PROBE_TOKENS tokens, or, where the server refuses that, for as many as the sweep. strict: a route that refuses a
    `longest` which the sweep's own would cut. Raises ServerUnreachable, ServerRefused when `prompt` fails; a `longest`
    that fails is only reported.
    """
    link = Link(asyncio.get_running_loop(), endpoint, spec.timeouts.connect_s)
    connection = Connection(link)
    rows: list[RequestRecord] = []
    refusals: dict[str, str] = {}
    headers: dict[str, str] = {}
    pauses_s = list(PAUSES_S)
    cap: int | None = PROBE_TOKENS
    try:
        while len(rows) < 2:
            row, exchange = await _send(connection, endpoint, plan, spec, prompt, cap)
            if (name := _refused_field(plan, row, exchange)) is not None:
                refusals[name] = row.error or ""
                if name == "max_tokens":
                    plan = replace(plan, limit_field="max_completion_tokens")
                    continue
                # a cache that cannot be keyed by a field is kept out by the prompt
                bust: CacheBust = "prompt" if name == plan.profile.cache_salt_field else plan.cache_bust
                plan = replace(plan, dropped=(*plan.dropped, name), cache_bust=bust)
            elif _is_busy(row) and pauses_s:
                await asyncio.sleep(pauses_s.pop(0))
            elif cap and _may_want_more_tokens(row) and row.asked_output_tokens != plan.asked_output_tokens(prompt):
                cap = None
            elif row.status != "ok":
                raise _refusal(row, endpoint, spec, _capped(plan, cap).body(prompt))
            else:
                rows.append(row)
                headers = exchange.kept_headers
        last = (await _send(connection, *strict, spec, longest, cap))[0] if longest and strict else None
        if longest and (last is None or last.http_status not in (200, 400)):  # a gateway may not have that route
            last = (await _send(connection, endpoint, plan, spec, longest, cap))[0]
        lingers = link.lingering >= len(rows)
        return ProbeResult(rows, last, plan, refusals, link.closes_after_response, lingers, headers)
    finally:
        connection.close()


def _capped(plan: BodyPlan, cap: int | None) -> BodyPlan:
    return plan if cap is None else replace(plan, max_output_tokens=min(cap, plan.max_output_tokens or cap))


def _may_want_more_tokens(row: RequestRecord) -> bool:
    """True for a refusal that may be of the few tokens asked for: a least number, or no room to think."""
    return row.status == "stream_error" or (row.status == "http_error" and row.http_status in (400, 422))


async def _send(
    connection: Connection, endpoint: Endpoint, plan: BodyPlan, spec: SweepSpec, prompt: Prompt, cap: int | None
) -> tuple[RequestRecord, Exchange]:
    """One request to its end, which the sweep's own time limits bring about if the server does not."""
    plan = _capped(plan, cap)
    encoded, limits = encode(prompt, plan, endpoint), limits_ns(spec.timeouts)
    context = PointContext("preflight", "preflight", 1, 0, 0, now_ns(), plan.stream)
    exchange, done = Exchange(0, now_ns()), asyncio.Event()
    exchange.on_done = lambda _: done.set()
    for _ in range(2):
        try:
            if not connection.is_open:
                await connection.open()
            connection.send(encoded.wire, exchange)
            while not done.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(done.wait(), _POLL_S)
                abort_if_overdue(connection, exchange, now_ns(), limits, streaming=plan.stream)
        except WireError as error:
            exchange.error = error
        if exchange.error is None or not exchange.error.stale:
            break
        exchange.reset_for_retry()
        done.clear()
    rows: list[RequestRecord] = []
    for _ in record_steps(exchange, encoded, context, rows):
        pass
    return rows[0], exchange


def _is_busy(row: RequestRecord) -> bool:
    """True for 429 and 503; TGI reports its overload inside a stream."""
    overloaded = row.status == "stream_error" and "overloaded" in (row.error or "")
    return overloaded or (row.status == "http_error" and row.http_status in (429, 503))


def _refused_field(plan: BodyPlan, row: RequestRecord, exchange: Exchange) -> str | None:
    """The field that a 400 or 422 names and that a request can do without; None if it names none."""
    if row.status != "http_error" or row.http_status not in (400, 422):
        return None
    text = refusal_text(bytes(exchange.body))
    if plan.limit_field == "max_tokens" and "max_completion_tokens" in text and "max_tokens" in text:
        return "max_tokens"
    return next((name for name in _REFUSABLE if name not in plan.dropped and name in text), None)


def refusal_text(body: bytes) -> str:
    """An error body without the request that it quotes: FastAPI's `input` repeats every field's name."""

    def without_input(tree: Any, depth: int = 0) -> Any:
        if depth > 20:
            return None
        if isinstance(tree, dict):
            return {key: without_input(value, depth + 1) for key, value in tree.items() if key not in ("input", "ctx")}
        return [without_input(item, depth + 1) for item in tree] if isinstance(tree, list) else tree

    try:
        return str(without_input(loads(body)))
    except ValueError:
        return error_message(body, _LONG_ERROR)


def _refusal(row: RequestRecord, endpoint: Endpoint, spec: SweepSpec, body: dict[str, Any]) -> Exception:
    """body: of the request that failed."""
    where = f"{spec.server.base_url} {endpoint.path}"
    if row.status == "connect_error":
        return ServerUnreachable("the server cannot be reached", where=where, given=row.error)
    hint = "check --model and --profile; a request like those of the sweep must work once before it is measured"
    if _is_busy(row):
        hint = "the server is busy (other clients, or loading): wait, then measure without other clients"
    if row.status == "timeout":
        hint = "see what the server does meanwhile (its log, other clients), or wait longer: --first-token-timeout-s"
    if row.http_status in (401, 403):
        return server_probe.key_refused(spec, where, f"{row.status}: {row.error}")
    fields = {name: value for name, value in body.items() if name not in ("messages", "prompt", "inputs")}
    kind = {"chat": "chat completion", "completions": "text completion"}.get(spec.server.endpoint)
    return ServerRefused(
        "the server does not answer the sweep's own request",
        where=f"{where}, asked with {shortened(json.dumps(fields), _LONG_FIELDS)}",
        given=f"{row.status}: {row.error}",
        expected=f"a complete {kind}" if kind else "a complete answer of the server's native route",
        hint=hint,
    )


def spec_at(spec: SweepSpec, base_url: str) -> SweepSpec:
    return with_server(spec, base_url=base_url, more_base_urls=(), fallback=None)


def with_server(spec: SweepSpec, **changes: Any) -> SweepSpec:
    return spec.model_copy(update={"server": spec.server.model_copy(update=changes)})


def probe_server(spec: SweepSpec, client: httpx.Client, prompts: Sequence[Prompt]) -> Preflight:
    """Recognise one server and send it the sweep's own requests."""
    response = server_probe.models_response(client, spec)
    listed = server_probe.listed_models(response)
    auto = spec.server.profile == "auto"
    server = server_probe.recognise(client, response, listed) if auto else SERVERS[spec.server.profile]
    if spec.server.endpoint == "native" and server.native is None:
        speak = [other.name for other in SERVERS.values() if other.native]
        raise InputError(
            f"the profile {server.name} has no native route that benchsuite speaks",
            where="--endpoint (server.endpoint)",
            given="native",
            expected=f"chat or completions; native for {' and '.join(speak)}",
        )
    plan = BodyPlan(
        profile=server,
        model=_choose_model(spec, server, listed),
        endpoint=spec.server.endpoint,
        stream=spec.server.stream,
        fixed_length=spec.workload.fixed_length,
        max_output_tokens=spec.workload.max_output_tokens,
        cache_bust=_cache_bust(spec, server, scored=any(prompt.scorer is not None for prompt in prompts)),
        salt=PROBE_SALT,
        sampling=spec.sampling.fields,
        extra_body=spec.server.extra_body,
        system_prompt=spec.sampling.system_prompt,
    )
    unknown = unknown_sampling(server, plan.sampling, native=plan.endpoint == "native")
    if unknown:
        raise InputError(
            f"{server.title} does not know all of [sampling] on this route, and would ignore it silently",
            where=", ".join(f"--{name.replace('_', '-')}" for name in unknown),
            given=f"--endpoint {plan.endpoint}",
            expected="fields that it supports; --extra-body sends fields under other names",
        )
    endpoint = _endpoint(spec, plan)
    lengths = array("q", (sum(map(len, prompt_texts(p))) for p in prompts))
    first = prompts[0]
    strict = None
    if server.limits and server.limits.cuts_prompts and server.native and plan.endpoint != "native":
        refusing = replace(plan, endpoint="native", extra_body={})
        strict = _endpoint(spec, refusing), refusing
    longest = prompts[lengths.index(max(lengths))] if strict or max(lengths) > 2 * lengths[0] else first
    with start_blocking_portal() as portal:  # a thread's own event loop: in a notebook this one's runs already
        again = longest if strict or longest is not first else None
        result = portal.call(probe, endpoint, plan, spec, first, again, strict)
    if auto and server.recognise is None:
        server = server_probe.recognise_refusal(str(result.refusals)) or server
    plan = replace(result.plan, profile=server)
    row = result.rows[-1]
    last = result.longest or row
    sent = [*result.rows, last] if result.longest else result.rows
    facts = {
        "profile": server.name,
        "model": plan.model,
        "models_listed": listed,
        "streams": row.first_token_s is not None,
        "reports_usage": row.token_source == "usage",
        "input_tokens": row.input_tokens,
        "asked_output_tokens": row.asked_output_tokens,
        "got_output_tokens": row.output_tokens,
        "finish_reason": row.finish_reason,
        "fields_refused": list(result.refusals),
        "limit_field": plan.limit_field,
        "cache_bust": plan.cache_bust,
        "closes_after_response": result.closes_after_response,
        "body_lingers": result.body_lingers,
        "stamp_source": "kernel" if any(one.stamp_source == "kernel" for one in sent) else "user",
        "requests": len(sent),
        "output_tokens": sum(r.output_tokens or 0 for r in sent),
        "headers": result.headers,
        "server": server_probe.server_facts(client, server),
        "longest": {  # the set's longest request: tokens as the server counts them, and those that it will ask for
            "prompt_id": longest.prompt_id,
            "input_tokens": last.input_tokens,
            "asked_output_tokens": plan.asked_output_tokens(longest),
            "refused": None if last.status == "ok" else f"{last.status}: {last.error}",
            # by the sweep's own route, without a word
            "cut": strict is not None and last.http_status == 400 and "context" in (last.error or ""),
        },
    }
    found = Preflight(plan, (endpoint,), result.closes_after_response, result.body_lingers, facts)
    asked, cold = plan.asked_output_tokens(first), result.rows[0]  # the second request's prompt may be cached
    if asked is None or not (cold.sent_s and cold.first_token_s and cold.last_token_s):
        return found
    ttft_s = cold.first_token_s - cold.sent_s
    if result.longest and last.sent_s and last.first_token_s and longest is not first:  # of a prompt of mean length
        share = (sum(lengths) / len(lengths) - lengths[0]) / (max(lengths) - lengths[0])
        ttft_s = max(ttft_s + share * (last.first_token_s - last.sent_s - ttft_s), 0.0)
    per_token_s = (cold.last_token_s - cold.first_token_s) / max((cold.output_tokens or 0) - 1, 1)
    return replace(found, request_s=ttft_s + per_token_s * (asked - 1))


def calibrate_words(spec: SweepSpec, client: httpx.Client, workload: Workload) -> TokensPerWord:
    """How many tokens a word of a random set has, and what the server adds to a prompt, by its counts of two probes.

    By characters where it counts no prompts, or says what cannot be.
    """
    most = max(prompt.input_tokens or 0 for prompt in workload.prompts)
    short, long = 8, len(WORDS) * min(max(most // len(WORDS), 1), 4)  # each word as often as any other
    texts = {n: " ".join(RandomStream(0, 15, n).rounds(WORDS, n)) for n in (short, long)}
    facts = probe_server(spec, client, tuple(Prompt(f"{n}-words", prompt=text) for n, text in texts.items())).facts
    at_short, at_long = facts["input_tokens"], facts["longest"]["input_tokens"]
    if at_short is None or at_long is None:
        return TokensPerWord()
    value = round((at_long - at_short) / (long - short), 4)
    return TokensPerWord.of(
        {"by": "usage", "tokens_per_word": value, "overhead_tokens": round(at_short - value * short)}
    )


def _choose_model(spec: SweepSpec, server: Server, listed: list[str] | None) -> str:
    wanted, url = spec.server.model, api_address(spec.server.base_url).url("/models")
    names = f"one of {', '.join(listed)}" if listed else "the model's name as the server knows it"
    if wanted is None:
        if listed and len(listed) == 1:
            return listed[0]
        raise InputError(
            f"no model is chosen, and the server lists {len(listed) if listed else 'none'}",
            where="--model (server.model)",
            given="nothing",
            expected=names,
            hint=None if listed else f"check the URL: none at {url}; or name it with --model",
        )
    if listed and server.lists_its_model and wanted not in listed and f"{wanted}:latest" not in listed:
        local = server.local
        hint = f"{local.program} pull {wanted}" if local and local.model_routes else None
        raise ServerRefused("the server does not have the model", where=url, given=wanted, expected=names, hint=hint)
    return wanted


def _cache_bust(spec: SweepSpec, server: Server, *, scored: bool) -> CacheBust:
    """How the prompts of a set are kept out of the prefix cache. A salt in them would change a question that is scored,
    so that a server without a field for a salt has its cache switched off then, where it can be."""
    wanted = spec.workload.cache_bust
    if wanted == "auto":
        off = scored and not spec.workload.fixed_length and server.cache_off_fields
        return "field" if (server.cache_salt_field or off) and spec.server.endpoint != "native" else "prompt"
    if wanted == "field" and not (server.cache_salt_field or server.cache_off_fields):
        raise InputError(
            f"the profile {server.name} has no request field that keys its prefix cache, or switches it off",
            where="workload.cache_bust",
            given="field",
            expected="prompt, off or auto",
        )
    if wanted == "field" and not server.cache_salt_field and spec.workload.prefix_tokens:
        raise InputError(
            f"the profile {server.name} would have its prefix cache off, and the set has a prefix to share",
            where="workload.cache_bust",
            given="field, with prefix_tokens",
            expected="prompt, off or auto",
        )
    return wanted


def _endpoint(spec: SweepSpec, plan: BodyPlan) -> Endpoint:
    """Where the spec's base URL leads: of the host's addresses the first that takes a connection."""
    address_of = api_address(spec.server.base_url)
    below_root = spec.server.path or (plan.path if plan.endpoint == "native" else None)
    parts = urlsplit(address_of.root + below_root if below_root else address_of.url(plan.path))
    host, tls, asked = parts.hostname or "", parts.scheme == "https", spec.response
    with os_error_as(ServerUnreachable, "the host name does not resolve", host):
        resolved = socket.getaddrinfo(host, parts.port or (443 if tls else 80), type=socket.SOCK_STREAM)
    addresses = [(family, address) for family, _, _, _, address in resolved]

    def connects(family: int, address: Any) -> bool:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(spec.timeouts.connect_s)
            return sock.connect_ex(address) == 0

    family, address = next((place for place in addresses if connects(*place)), addresses[0])
    return Endpoint(
        family=family,
        address=address,
        host=host,
        host_header=parts.netloc,
        path=parts.path,
        query=server_probe.request_query(spec),
        headers=tuple(server_probe.request_headers(spec).items()),
        secrets=remembered_keys(),
        base_url=spec.server.base_url,
        tls=tls,
        insecure=spec.server.insecure,
        kernel_stamps=spec.load.kernel_timestamps,
        limits=ResponseLimits(
            response_bytes=asked.max_mib * MIB,
            held_bytes=asked.held_mib * MIB,
            header_bytes=asked.header_kib * KIB,
            event_bytes=asked.event_mib * MIB,
            event_values=asked.event_values,
        ),
    )


def preflight(
    spec: SweepSpec, client: httpx.Client, prompts: Sequence[Prompt], launched_server: dict[str, Any] | None = None
) -> Preflight:
    """Recognise and probe every server. Raises ServerUnreachable, ServerRefused, InputError.

    launched_server: facts of a server that we started ourselves. facts["capacity"]: what the servers can take, and in
    `warnings` what the sweep asks beyond that.
    """
    first = probe_server(spec, client, prompts)
    server = first.plan.profile
    capacity = server_probe.server_limits(client, server, first.facts, launched_server)
    n_servers = len(spec.server.base_urls)
    found = [*server_probe.limit_warnings(server, spec.load.concurrency, capacity, first.facts["longest"], n_servers)]
    capacity["warnings"] = [as_plain(finding) for finding in (*found, *server_probe.key_file_warnings(spec))]
    replicas = [first]
    for url in spec.server.more_base_urls:
        at_url = spec_at(spec, url)
        with server_probe.control_client(at_url) as other:
            replicas.append(probe_server(at_url, other, prompts))
        _refuse_unlike(first, replicas[-1])
    more = [replica.facts | {"base_url": replica.endpoints[0].base_url} for replica in replicas[1:]]
    # where one replica wants the newer name, all must know it: they are one service
    limit_fields = [replica.plan.limit_field for replica in replicas if replica.plan.limit_field != "max_tokens"]
    return Preflight(
        plan=replace(
            first.plan,
            dropped=tuple(dict.fromkeys(name for replica in replicas for name in replica.plan.dropped)),
            limit_field=limit_fields[0] if limit_fields else first.plan.limit_field,
        ),
        endpoints=tuple(endpoint for replica in replicas for endpoint in replica.endpoints),
        closes_after_response=any(replica.closes_after_response for replica in replicas),
        body_lingers=all(replica.body_lingers for replica in replicas),
        facts=first.facts | {"capacity": capacity} | ({"more_endpoints": more} if more else {}),
        fallback=_fallback(spec, first.plan, prompts),
        request_s=first.request_s,
    )


def _refuse_unlike(first: Preflight, other: Preflight) -> None:
    """Several endpoints are one service: the same model on the same kind of server."""
    pairs = {
        "model": (first.plan.model, other.plan.model),
        "model_id": (first.facts["server"].get("model_id"), other.facts["server"].get("model_id")),
        "kind of server": (first.plan.profile.name, other.plan.profile.name),
    }
    for what, (a, b) in pairs.items():
        if a != b:
            raise ServerRefused(
                f"the base URLs do not serve the same {what}",
                where=f"{first.endpoints[0].base_url} and {other.endpoints[0].base_url}",
                given=f"{a} and {b}",
                expected="replicas of one server",
                hint="measure them in separate sweeps, or give --model and --profile",
            )


def _fallback(spec: SweepSpec, plan: BodyPlan, prompts: Sequence[Prompt]) -> Preflight | None:
    """The API for what the servers under test refuse, probed as they were. plan: theirs."""
    asked = spec.server.fallback
    if asked is None:
        return None
    for url in spec.server.base_urls if "queue" in asked.on else ():
        with server_probe.control_client(spec_at(spec, url)) as client:
            state = read_state(client, plan.profile)
        if state.waiting is None:
            raise InputError(
                "the server does not report how many requests wait, so a full queue cannot be seen",
                where="server.fallback.max_waiting (--fallback-max-waiting)",
                given=f"{url} ({plan.profile.name})",
                expected="one of " + ", ".join(server.title for server in SERVERS.values() if server.metrics),
                hint="leave queue out: use 429 and 503 only",
            )
    bust: CacheBust = "off" if plan.cache_bust == "off" else "prompt"
    api = with_server(
        spec.model_copy(update={"workload": spec.workload.model_copy(update={"cache_bust": bust})}),
        **asked.model_dump(include={"base_url", "model", "api_key_env", "api_key_file", "headers", "query"}),
        path=None,
        more_base_urls=(),
        fallback=None,
        profile="openai",
        endpoint="completions" if spec.server.endpoint == "completions" else "chat",
        extra_body=spec.server.extra_body if asked.extra_body is None else asked.extra_body,
        insecure=False,
    )
    with server_probe.control_client(api) as client:
        return probe_server(api, client, prompts)


def check_levels(spec: SweepSpec, workload: Workload, times_s: Sequence[float] = ()) -> None:
    """Refuse a level that the set cannot keep busy, a rate without a request, a set that the endpoint cannot take.

    times_s: of a trace.
    """
    rates = spec.load.rate is not None
    for plan in plan_points(spec.load, len(workload.prompts), "", spec.arrivals, times_s) if rates else ():
        if not plan.n_requests:
            raise InputError(
                "no request is due in the measured window",
                where="--rate, --duration-s",
                given=f"{plan.level.words} for {spec.arrivals.duration_s:g} s (repeat {plan.repeat + 1})",
                expected="a window of 100 requests or more",
                hint=f"--duration-s {math.ceil(100 / plan.level.number)}",
            )
    if spec.server.endpoint != "chat":
        for prompt in workload.prompts:
            if odd := kinds_of_parts(prompt) - {"text"}:
                raise InputError(
                    "the request set needs the chat endpoint",
                    where=f"--endpoint {spec.server.endpoint} (server.endpoint)",
                    given=f"{', '.join(sorted(odd))} in the request {prompt.prompt_id!r}",
                    expected="--endpoint chat, or a set of texts",
                )
    highest = max(spec.load.concurrency, default=0)
    if highest > len(workload.prompts):
        raise InputError(
            "a level has more virtual users than the set has requests, so its concurrency is never reached",
            where="concurrency",
            given=f"level {highest} with {len(workload.prompts)} requests",
            expected=f"at least {highest} requests; 10 times the level or more for a steady state",
            hint=f"--requests {10 * highest}, or lower levels",
        )


def check_descriptors(spec: SweepSpec) -> None:
    """Raise the limit on open files to what the highest level needs; refuse what the system does not allow."""
    load = spec.heaviest_load
    needed = open_files_needed(load, 2 if spec.server.fallback else 1, spec.arrivals.max_in_flight)
    allowed = raise_limit(needed if load.rate is None else 30 * needed)
    if allowed < needed:
        raise InputError(
            "a level needs more open files than this system lets one process have",
            where="ulimit -n",
            given=f"{allowed} for level {load.levels[-1]} over {load.n_workers} measuring processes",
            expected=f"{needed} or more",
            hint=f"ulimit -Hn {needed} (as root), more --workers (each has its own limit), or lower levels (--high)",
        )


def read_queue_depths(clients: Sequence[httpx.Client], profile: Server, waiting: MutableSequence[int]) -> None:
    """The number of requests that wait at each server; 0 where it does not report it: its own answer decides."""
    for k, client in enumerate(clients):
        waiting[k] = int(min(read_state(client, profile).waiting or 0, 2**31 - 1))


@contextlib.contextmanager
def watch_queues(spec: SweepSpec, profile: Server, waiting: MutableSequence[int]) -> Iterator[None]:
    """Reads the queues a few times a second, where a fallback asks for it."""
    if spec.server.fallback is None or spec.server.fallback.max_waiting is None:
        yield
        return
    stop = threading.Event()

    def read() -> None:
        with contextlib.ExitStack() as stack:
            specs = (spec_at(spec, url) for url in spec.server.base_urls)
            clients = [stack.enter_context(server_probe.control_client(one)) for one in specs]
            while not stop.is_set():
                read_queue_depths(clients, profile, waiting)
                stop.wait(_QUEUE_POLL_S)

    thread = threading.Thread(target=read, name="benchsuite-queue-depth", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(2 * spec.timeouts.connect_s)  # it may be asking
