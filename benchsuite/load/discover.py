"""A look at a server, to write a spec for it: which it is, its models, what it can take. Nothing is generated."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchsuite.errors import ServerRefused, ServerUnreachable, TelemetryError
from benchsuite.load.preflight import api_key, control_client
from benchsuite.load.server_probe import listed_models, recognise, server_facts, server_limits
from benchsuite.servers import SERVERS
from benchsuite.spec import SweepSpec
from benchsuite.spec_reading import parse_spec
from benchsuite.telemetry.nvml import find_gpus, start_nvml, stop_nvml

PORTS = tuple(dict.fromkeys(port for server in SERVERS.values() for port in server.ports))  # the usual ones
_CONNECT_S = 0.3
_ANSWER_S = 3.0
_MOST_MODELS = 20


@dataclass(frozen=True, slots=True)
class Seen:
    """A server as it presents itself. slots: requests that it works on at a time; context_tokens: of one request.

    None: not told. gpus: the names of this machine's, for a server on it.
    """

    base_url: str
    profile: str
    version: str | None = None
    models: tuple[str, ...] = ()
    slots: int | None = None
    context_tokens: int | None = None
    gpus: tuple[str, ...] = ()

    @property
    def model(self) -> str | None:
        """The first of its models."""
        return self.models[0] if self.models else None


def look(base_url: str) -> Seen:
    """The server at base_url. Raises SpecError (no URL), ServerUnreachable, ServerRefused (the API key)."""
    spec = _spec(base_url)
    try:
        answer, seen = _ask(spec)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServerUnreachable(
            "the server cannot be reached",
            where=f"{spec.server.base_url}/v1/models",
            given=f"{type(error).__name__}: {error}",
            expected="an OpenAI-compatible server",
            hint="start it, or check --base-url; without --base-url a template is written",
        ) from None
    if answer.status_code in (401, 403):
        raise ServerRefused(
            "the server does not accept the API key",
            where=f"{spec.server.base_url}/v1/models",
            given=f"HTTP {answer.status_code}; {'a' if api_key(spec) else 'no'} key from $OPENAI_API_KEY",
            hint="put the key into the environment variable OPENAI_API_KEY",
        )
    return seen


def look_around(ports: Sequence[int] | None = None) -> list[Seen]:
    """The inference servers on this machine's usual ports (None: PORTS). No API key is shown to what listens there."""
    found = []
    for port in PORTS if ports is None else ports:
        try:
            socket.create_connection(("127.0.0.1", port), _CONNECT_S).close()
            answer, seen = _ask(_spec(f"http://127.0.0.1:{port}", api_key_env=""))
        except (OSError, httpx.HTTPError):
            continue
        if answer.status_code == 200 and (seen.models or seen.profile not in ("openai", "transformers")):
            found.append(seen)
    return found


def _spec(base_url: str, **server: str) -> SweepSpec:
    tree = {"server": {"base_url": base_url, **server}, "timeouts": {"connect_s": _ANSWER_S}}
    return parse_spec(tree, where="--base-url")


def _ask(spec: SweepSpec) -> tuple[httpx.Response, Seen]:
    with control_client(spec) as client:
        answer = client.get("/v1/models")
        listed = listed_models(answer)
        profile = recognise(client, answer, listed)
        facts = server_facts(client, profile)
        models = tuple(listed or ([str(facts["model_id"])] if facts.get("model_id") else ()))[:_MOST_MODELS]
        told = {"model": models[0] if models else "", "headers": {}}
        capacity = server_limits(client, profile, told)
    return answer, Seen(
        spec.server.base_url,
        profile.name,
        _version(facts),
        models,
        capacity["concurrent_requests"],
        capacity["context_tokens"],
        _gpus() if _is_here(spec.server.base_url) else (),
    )


def _version(facts: dict[str, Any]) -> str | None:
    found = facts.get("version") or facts.get("build_info")
    return None if found is None else str(found)


def _is_here(base_url: str) -> bool:
    return urlsplit(base_url).hostname in ("127.0.0.1", "localhost", "::1")


def _gpus() -> tuple[str, ...]:
    try:
        start_nvml()
    except TelemetryError:
        return ()
    try:
        with contextlib.suppress(TelemetryError):
            return tuple(gpu.name for gpu in find_gpus(lambda _: None))
        return ()
    finally:
        stop_nvml()
