"""One server, before anything is measured: which is it, does it have the model, does it stream, count, obey?"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchsuite.client.servers import PROFILES, BodyPlan, CacheBust, ServerProfile
from benchsuite.client.wire import resolve
from benchsuite.errors import InputError, ServerRefused, ServerUnreachable
from benchsuite.load.detect import detect, listed_models, server_facts
from benchsuite.load.endpoints import Endpoint
from benchsuite.load.found import Preflight, api_key, key_source
from benchsuite.load.trial import Trial, try_requests
from benchsuite.spec import SweepSpec
from benchsuite.workload.dataset import Prompt


def find_out(spec: SweepSpec, client: httpx.Client, prompts: tuple[Prompt, ...]) -> Preflight:
    """Find one server out and try the sweep's own requests."""
    answer = _models_answer(client, spec)
    listed = listed_models(answer)
    auto = spec.server.profile == "auto"
    profile = detect(client, answer, listed) if auto else PROFILES[spec.server.profile]
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
    trial = asyncio.run(try_requests(endpoint, plan, spec, prompts[0], longest if much_longer else None))
    if auto and profile.name == "openai" and "Unexpected fields in the request" in str(trial.refusals):
        profile = PROFILES["transformers"]  # its words; nothing else tells it from others while it lists its models
    plan = replace(trial.plan, profile=profile)
    facts = _facts(trial, plan, listed) | {"server": server_facts(client, profile)}
    facts["longest"] = _longest_facts(trial, longest if much_longer else prompts[0], plan)
    return Preflight(profile, model, endpoint, plan, trial.closes_after_response, facts)


def _facts(trial: Trial, plan: BodyPlan, listed: list[str] | None) -> dict[str, Any]:
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


def _longest_facts(trial: Trial, prompt: Prompt, plan: BodyPlan) -> dict[str, Any]:
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


def _models_answer(client: httpx.Client, spec: SweepSpec) -> httpx.Response:
    """The answer of /v1/models. Raises ServerUnreachable, ServerRefused (the API key)."""
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


def _check_endpoint(spec: SweepSpec, profile: ServerProfile) -> None:
    """Refuse the native route of a server that has none, and a client that cannot speak it."""
    if spec.server.endpoint != "native":
        return
    if profile.native_path is None:
        speak = [name for name, known in PROFILES.items() if known.native_path]
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


def _cache_bust(spec: SweepSpec, profile: ServerProfile) -> CacheBust:
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
        kernel_stamps=spec.load.kernel_stamps,
    )


def _connects(family: int, address: tuple[Any, ...], timeout_s: float) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout_s)
        return sock.connect_ex(address) == 0
