"""What a run says of itself: the manifest, as it stands when a session begins."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from benchsuite import __version__
from benchsuite.clock import NS_PER_S, Anchor
from benchsuite.foreign import masked
from benchsuite.load.preflight import Preflight
from benchsuite.load.resume import abandoned, continued_origin
from benchsuite.records import SCHEMA_VERSION
from benchsuite.spec import SweepSpec
from benchsuite.telemetry.calibration import read_calibration
from benchsuite.telemetry.host import describe_host
from benchsuite.workload.dataset import Workload


def new_run_id(model: str) -> str:
    """A name that sorts by time and says the model."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", masked(model).rsplit("/", 1)[-1]).strip("-")[:40].lower() or "model"
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{slug}-{secrets.token_hex(2)}"


def utc(wall_ns: int) -> str:
    """Unix nanoseconds as ISO 8601 in UTC."""
    return datetime.fromtimestamp(wall_ns / NS_PER_S, UTC).isoformat()


def new_manifest(
    spec: SweepSpec,
    workload: Workload,
    found: Preflight,
    before: Mapping[str, Any],
    served: dict[str, Any] | None,
    now: Anchor,
) -> dict[str, Any]:
    """The manifest of a session that begins now. before: that of the run so far, empty for a new one.

    A run that goes on keeps its id, its birth, its origin in time, its points and the sessions before.
    """
    origin = continued_origin(before, now) if before else now
    session = {"monotonic_origin_ns": origin.monotonic_ns, "started": utc(now.wall_ns), "ended": None}
    return {
        "schema": SCHEMA_VERSION,
        "run_id": before["run_id"] if before else new_run_id(found.model),
        "status": "running",
        "created": before.get("created") or utc(origin.wall_ns),
        "benchsuite": __version__,
        "spec": spec.model_dump(mode="json"),
        "model": found.model,
        "workload": {
            "name": workload.name,
            "requests": len(workload.prompts),
            "content_hash": workload.content_hash,
        },
        "clock": {
            "name": "CLOCK_MONOTONIC",
            "origin_monotonic_ns": origin.monotonic_ns,
            "origin_wall_ns": origin.wall_ns,
        },
        "sessions": [*(before.get("sessions") or ([{}] if before else [])), session],
        "host": describe_host(),
        "calibration": read_calibration(),
        "preflight": found.facts,
        "endpoints": found.roles,
        "served": served,
        "points": abandoned(before.get("points", [])),
    }
