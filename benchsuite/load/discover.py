"""Finds servers, to write a spec for one: which it is, its models, what it can take. Nothing is generated."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from benchsuite.errors import BenchsuiteError, TelemetryError
from benchsuite.load.server_probe import (
    control_client,
    listed_models,
    models_response,
    recognise,
    server_facts,
    server_limits,
)
from benchsuite.servers import SERVERS
from benchsuite.servers.base import Server
from benchsuite.spec import SweepSpec
from benchsuite.spec_reading import parse_spec
from benchsuite.telemetry.nvml import find_gpus, start_nvml, stop_nvml

PORTS = tuple(dict.fromkeys(port for server in SERVERS.values() for port in server.ports))  # the usual ones
_CONNECT_S = 0.3
_RESPONSE_S = 3.0
_MAX_MODELS = 20


@dataclass(frozen=True, slots=True)
class DiscoveredServer:
    """A server as it presents itself. slots: requests that it works on at a time; context_tokens: of one request.

    None: not known. gpus: the names of this machine's, for a server on it.
    """

    base_url: str
    kind: Server
    version: str | None = None
    models: tuple[str, ...] = ()
    slots: int | None = None
    context_tokens: int | None = None
    gpus: tuple[str, ...] = ()

    @property
    def model(self) -> str | None:
        """The first of its models."""
        return self.models[0] if self.models else None


def discover(base_url: str) -> DiscoveredServer:
    """The server at base_url. Raises SpecError (no URL), ServerUnreachable, ServerRefused (the API key)."""
    return _probe(_spec(base_url))[1]


def discover_servers(ports: Sequence[int] | None = None) -> list[DiscoveredServer]:
    """The servers on this machine's usual ports (None: PORTS). No API key is shown to what listens there."""
    servers = []
    for port in PORTS if ports is None else ports:
        try:
            socket.create_connection(("127.0.0.1", port), _CONNECT_S).close()
            response, server = _probe(_spec(f"http://127.0.0.1:{port}", api_key_env=""))
        except (OSError, httpx.HTTPError, BenchsuiteError):
            continue
        marks = server.kind.recognise
        if response.status_code == 200 and (server.models or (marks and not marks.unlisted_header)):
            servers.append(server)
    return servers


def _spec(base_url: str, **server: str) -> SweepSpec:
    tree = {"server": {"base_url": base_url, **server}, "timeouts": {"connect_s": _RESPONSE_S}}
    return parse_spec(tree, where="--base-url")


def _probe(spec: SweepSpec) -> tuple[httpx.Response, DiscoveredServer]:
    url = spec.server.base_url
    with control_client(spec) as client:
        response = models_response(client, spec)
        listed = listed_models(response)
        kind = recognise(client, response, listed)
        facts = server_facts(client, kind)
        models = tuple(listed or ([str(facts["model_id"])] if facts.get("model_id") else ()))[:_MAX_MODELS]
        limits = server_limits(client, kind, {"model": models[0] if models else "", "headers": {}})
    version = facts.get("version") or facts.get("build_info")
    gpus = _gpu_names() if urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1") else ()
    return response, DiscoveredServer(
        url,
        kind,
        None if version is None else str(version),
        models,
        limits["concurrent_requests"],
        limits["context_tokens"],
        gpus,
    )


def _gpu_names() -> tuple[str, ...]:
    with contextlib.suppress(TelemetryError):
        start_nvml()
        try:
            return tuple(gpu.name for gpu in find_gpus(lambda _: None))
        finally:
            stop_nvml()
    return ()
