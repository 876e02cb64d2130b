"""Before anything is measured: every server is found out and tried, and held against what the sweep will ask of it.

Uses the measuring client itself for the trial requests, so that what works here works under load.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx

from benchsuite.client.servers import CacheBust
from benchsuite.errors import InputError, ServerRefused
from benchsuite.load.capacity import capacity_facts, capacity_warnings
from benchsuite.load.endpoints import Fallback
from benchsuite.load.found import Preflight, api_key, control_client, key_file_warnings, spec_at, with_server
from benchsuite.load.one_server import find_out
from benchsuite.spec import SweepSpec
from benchsuite.telemetry.server import read_state
from benchsuite.workload.dataset import Prompt

__all__ = ["Preflight", "api_key", "control_client", "preflight", "spec_at"]


def preflight(
    spec: SweepSpec, client: httpx.Client, prompts: tuple[Prompt, ...], served: dict[str, Any] | None = None
) -> Preflight:
    """Find every server out and try the sweep's own requests. Raises ServerUnreachable, ServerRefused, InputError.

    served: facts of a server that we started ourselves. facts["capacity"]: what the servers can take, and in
    `warnings` the words for what the sweep asks beyond that.
    """
    found = find_out(spec, client, prompts)
    capacity = capacity_facts(client, found.profile, found.facts, served)
    capacity["warnings"] = capacity_warnings(
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
    dropped = dict.fromkeys(name for one in (found, *others) for name in one.plan.dropped)
    return replace(
        found,
        plan=replace(
            found.plan,
            dropped=tuple(dropped),
            # where one replica wants the newer name, all must know it: they are one service
            limit_field=next(
                (one.plan.limit_field for one in others if one.plan.limit_field != "max_tokens"), found.plan.limit_field
            ),
        ),
        closes_after_response=any(one.closes_after_response for one in (found, *others)),
        facts=found.facts
        | {"capacity": capacity}
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
    return Fallback(tried.endpoint, tried.plan, statuses, asked.max_waiting, tried.closes_after_response)
