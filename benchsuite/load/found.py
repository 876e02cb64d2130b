"""What a preflight finds, and the client that it asks with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchsuite.client.servers import BodyPlan, ServerProfile
from benchsuite.errors import InputError
from benchsuite.foreign import remember_key
from benchsuite.load.endpoints import Endpoint, Fallback
from benchsuite.spec import SweepSpec
from benchsuite.telemetry.bounded import bounded_client

_LONGEST_KEY = 4096


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
