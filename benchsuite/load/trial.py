"""The sweep's own kind of request, tried by the measuring client before anything is measured."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import Any

from benchsuite.client.exchange import Exchange, WireError
from benchsuite.client.reading import error_message, loads
from benchsuite.client.request import PointContext, Prepared, record_steps
from benchsuite.client.servers import BodyPlan, http_request
from benchsuite.client.wire import Connection, Link
from benchsuite.clock import now_ns
from benchsuite.errors import ServerRefused, ServerUnreachable
from benchsuite.load.endpoints import Endpoint
from benchsuite.load.first_token import has_token
from benchsuite.load.seats import limits_of
from benchsuite.records import RequestRecord
from benchsuite.spec import SweepSpec
from benchsuite.workload.dataset import Prompt

TRIAL_TOKENS = 8
_LOOK_S = 0.1
# what a request can do without, in the order in which it is left out
_REFUSABLE = ("stream_options", "cache_salt", "cache_prompt", "min_tokens", "ignore_eos")
_LONG_ERROR = 20_000
PAUSES_S = (0.25, 0.5, 1.0, 2.0)  # a server that is full, or still loads its model, is asked again
_ENDPOINT_WORDS = {
    "chat": "a complete chat completion",
    "completions": "a complete text completion",
    "native": "a complete answer of the server's native route",
}


@dataclass(frozen=True, slots=True)
class Trial:
    """What the trial showed. rows: of the requests that worked. longest: of the longest request, or None if not sent.

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
) -> Trial:
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
        return Trial(rows, last, plan, refusals, link.closes_after_response, headers)
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
    prepared = Prepared(wire, prompt.prompt_id, prompt.scenario, plan.asked_output_tokens(prompt))
    for _ in record_steps(exchange, prepared, context, rows):
        pass
    return rows[0], exchange


async def _until_done(connection: Connection, exchange: Exchange, done: asyncio.Event, spec: SweepSpec) -> None:
    """Wait for the end of the exchange, which the sweep's own limits bring about if the server does not."""
    limits = limits_of(spec.timeouts)
    told = not spec.server.stream
    while not done.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                await done.wait()
        at_ns = now_ns()
        why = connection.overdue(at_ns, limits.idle_ns, limits.request_ns)
        if why is None and not told and not done.is_set() and at_ns - exchange.sent_ns > limits.first_token_ns:
            told = has_token(exchange)
            why = None if told else f"no token for {limits.first_token_ns / 1e9:g} s"
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
    return None if name is None else (replace(plan, dropped=(*plan.dropped, name)), name)


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
