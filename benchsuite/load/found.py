"""What a preflight finds, and the client that it asks with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import httpx

from benchsuite.client.servers import BodyPlan, ServerProfile
from benchsuite.errors import InputError
from benchsuite.load.endpoints import Endpoint, Fallback
from benchsuite.spec import SweepSpec


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
    return with_server(spec, base_url=base_url, more_base_urls=(), fallback=None)


def with_server(spec: SweepSpec, **changes: Any) -> SweepSpec:
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
