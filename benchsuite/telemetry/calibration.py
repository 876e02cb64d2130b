"""This machine's last calibration, kept in the user's state folder and copied into the manifest of every run."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchsuite import __version__
from benchsuite.store import write_json
from benchsuite.telemetry.host import describe_host


def calibration_path() -> Path:
    """$XDG_STATE_HOME/benchsuite/calibration.json, or below ~/.local/state."""
    root = os.environ.get("XDG_STATE_HOME")
    return (Path(root) if root else Path.home() / ".local" / "state") / "benchsuite" / "calibration.json"


def keep_calibration(points: list[dict[str, Any]]) -> dict[str, Any]:
    """Keep the points of a calibration as this machine's, and return the whole record."""
    record = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "benchsuite": __version__,
        "machine": _fingerprint(),
        "points": points,
    }
    path = calibration_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record)
    return record


def read_calibration() -> dict[str, Any] | None:
    """This machine's last calibration; None if there is none, or another machine, Python or benchsuite made it."""
    try:
        record = json.loads(calibration_path().read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("machine") != _fingerprint():
        return None
    return record


def _fingerprint() -> dict[str, Any]:
    host = describe_host()
    return {key: host[key] for key in ("platform", "cpu_model", "cpu_count", "python")} | {
        name: host["versions"][name] for name in ("benchsuite", "uvloop", "httptools", "orjson")
    }
