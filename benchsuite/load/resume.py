"""Taking a run up again: what is missing, and whether what goes on is the same measurement.

A point that was interrupted is measured again whole, under a new attempt number; its earlier rows stay, abandoned.
What the judgement alone uses (prices, SLO) and what only adds points (levels, repeats) may differ from before.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchsuite import __version__
from benchsuite.clock import NS_PER_S, Anchor
from benchsuite.errors import InputError
from benchsuite.load.plan import PointPlan
from benchsuite.spec import SweepSpec, parse_spec

# keys of the spec that may differ: they change no measured figure, or only which points there are, or (the name of the
# workload's file) what they name is compared itself
_FREE = (
    "price", "slo", "telemetry", "load.concurrency", "load.repeats", "server.api_key_env", "server.api_key_file",
    "load.max_errors", "load.server_wait_s", "workload.source",
)  # fmt: skip
_MISSING = "nothing"


@dataclass(frozen=True, slots=True)
class Remaining:
    """A planned point that is still to be measured: which attempt this is, 0 for the first."""

    plan: PointPlan
    attempt: int


def identity(
    spec: SweepSpec, content_hash: str | None, code: str | None, served: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What makes two measurements the same before a server is asked, by words for a person.

    The address of a server that we start ourselves is left out: its port is new every time.
    """
    tree = spec.model_dump(mode="json")
    facts = {key: value for key, value in _flat(tree).items() if not _is_free(key)}
    if served is not None:
        facts = {key: value for key, value in facts.items() if not key.startswith("server.base_url")}
        facts["server started as"] = served.get("plan")
    return facts | {"workload content": content_hash, "benchsuite": __version__, "benchsuite's code": code}


def identity_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a run that was measured before, and what its server and GPUs turned out to be."""
    spec = parse_spec(manifest["spec"], where="manifest.json")
    content_hash = (manifest.get("workload") or {}).get("content_hash")
    facts = identity(spec, content_hash, (manifest.get("host") or {}).get("code_hash"), manifest.get("served"))
    facts["benchsuite"] = manifest.get("benchsuite")
    return facts | found_facts(
        manifest.get("model"), manifest.get("preflight") or {}, (manifest.get("telemetry") or {}).get("gpu")
    )


def found_facts(model: str | None, preflight: Mapping[str, Any], gpu: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the server and the GPUs turned out to be. gpu: the sampler's facts, None if no GPU was sampled."""
    used = (gpu or {}).get("used") or []
    names = {device.get("uuid"): device.get("name") for device in (gpu or {}).get("devices") or []}
    return {
        "model": model,
        "server profile": preflight.get("profile"),
        "server version": _version(preflight.get("server") or {}),
        "GPUs": ", ".join(sorted(f"{names.get(uuid)} {uuid}" for uuid in used)) or None,
        "GPU driver": (gpu or {}).get("driver"),
    }


def _version(server: Mapping[str, Any]) -> Any:
    return server.get("version") or server.get("build_info")


def refuse_differences(before: Mapping[str, Any], now: Mapping[str, Any], where: str) -> None:
    """Raises InputError naming every fact of `now` that `before` has otherwise."""
    changed = [key for key in now if before.get(key) != now[key]]
    if changed:
        lines = [f"{key}: {_said(before.get(key))} before, {_said(now[key])} now" for key in changed]
        raise InputError(
            "the folder holds a run of something else, so it cannot be gone on with:\n    " + "\n    ".join(lines),
            where=where,
            expected="the same server, model, workload, GPU and code",
            hint="name another --output for a new run",
        )


def remaining(
    points: Sequence[PointPlan], entries: Sequence[Mapping[str, Any]], attempts: Mapping[str, int] | None = None
) -> list[Remaining]:
    """The planned points without a whole attempt, in their order.

    entries: the manifest's points so far. attempts: the last attempt of each point that has rows, whatever the
    manifest says: a new attempt never takes the number of rows that are there.
    """
    attempts = dict(attempts or {})
    whole = set()
    for entry in entries:
        point_id = str(entry.get("point_id"))
        attempts[point_id] = max(attempts.get(point_id, -1), entry.get("attempt", 0))
        if entry.get("status") == "complete":
            whole.add(point_id)
    todo = [point for point in points if point.point_id not in whole]
    return [_renewed(point, attempts.get(point.point_id, -1) + 1) for point in todo]


def _renewed(plan: PointPlan, attempt: int) -> Remaining:
    """A later attempt has salts of its own: the server's prefix cache may still hold the earlier one's prompts."""
    if attempt:
        plan = dataclasses.replace(plan, salt=_salt(plan.salt, attempt), warmup_salt=_salt(plan.warmup_salt, attempt))
    return Remaining(plan, attempt)


def _salt(salt: str, attempt: int) -> str:
    return hashlib.sha256(f"{salt}/{attempt}".encode()).hexdigest()[:12]


def abandoned(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The manifest's points so far; those that were not measured to their end are given up, for a later attempt."""
    return [e if e.get("status") == "complete" else e | {"status": "abandoned"} for e in entries]


def continued_origin(manifest: Mapping[str, Any], now: Anchor) -> Anchor:
    """The run's origin on this boot's monotonic clock: seconds go on where wall time says they are, and never go back.

    A wall clock that was set back in between would lay this session over an earlier one, whose samples and rows stay.
    """
    clock = manifest["clock"]
    wall_ns, origin_ns, end_ns = (
        clock.get(key) for key in ("origin_wall_ns", "origin_monotonic_ns", "end_monotonic_ns")
    )
    passed_ns = now.wall_ns - wall_ns
    if isinstance(end_ns, int) and isinstance(origin_ns, int):
        passed_ns = max(passed_ns, end_ns - origin_ns)
    for point in manifest.get("points") or []:
        passed_ns = max(passed_ns, int((point.get("ended_s") or 0) * NS_PER_S))
    return Anchor(now.monotonic_ns - passed_ns, wall_ns)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _is_free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in _FREE)


def _said(value: Any) -> str:
    return _MISSING if value is None else str(value)
