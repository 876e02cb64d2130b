"""The shape of a manifest: what its readers rely on, checked once, so that a damaged one is refused by its place. Pure.

Unknown keys are left alone: an older or a newer version may have written them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from benchsuite.errors import PointsError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < math.inf


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _nanoseconds(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _name(value: Any) -> bool:
    """A point's name is part of file names: it leads nowhere else."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


_EXPECTED: dict[Callable[[Any], bool], str] = {
    _text: "a text",
    _number: "a finite number",
    _count: "a whole number from 0 to 2147483647",
    _nanoseconds: "a whole number of nanoseconds",
    _name: "letters, digits, dots, - and _",
}

_SPAN = {"started_s": _number, "ended_s": _number}
_POINT: dict[str, Any] = {
    "!point_id": _name, "!status": _text, "concurrency": _count, "repeat": _count, "attempt": _count, **_SPAN,
    "client": {}, "server": {}, "warmup": {}, "cooldown": {}, "clocks": {}, "invalid": _text,
}  # fmt: skip
_GPU = {"source": _text, "driver": _text, "used": [_text], "devices": [{"uuid": _text, "name": _text}]}
_SHAPE: dict[str, Any] = {
    "run_id": _text, "spec": {}, "status": _text, "created": _text, "benchsuite": _text, "model": _text,
    "workload": {"name": _text, "requests": _count, "content_hash": _text},
    "clock": {"origin_monotonic_ns": _nanoseconds, "origin_wall_ns": _nanoseconds, "end_wall_ns": _nanoseconds},
    "sessions": [{}], "host": {"versions": {}}, "calibration": {"points": [{}]}, "workers": _count,
    "preflight": {"server": {}, "capacity": {}}, "endpoints": [{"base_url": _text, "role": _text, "model": _text}],
    "served": {}, "planned_points": [_name], "points": [_POINT], "imported": {"definitions": [_text]},
    "telemetry": {"gpu": _GPU, "server": [{"url": _text, "endpoint": _text}], "idle": _SPAN, "problems": [_text]},
}  # fmt: skip


def check_manifest(manifest: Any, where: str) -> None:
    """Raises PointsError naming the first place whose value is not of its kind. null and a missing key are of any."""
    _check(manifest, _SHAPE, where, "")


def _check(value: Any, shape: Any, where: str, path: str) -> None:
    if value is None:
        return
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            raise _wrong(value, "a table", where, path)
        for key, inner in shape.items():
            name = key.removeprefix("!")
            if key != name and value.get(name) is None:
                raise _wrong(None, f"{name} in it", where, path)
            _check(value.get(name), inner, where, f"{path}.{name}" if path else name)
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise _wrong(value, "a list", where, path)
        for i, item in enumerate(value):
            if item is None:
                raise _wrong(item, "no null", where, f"{path}[{i}]")
            _check(item, shape[0], where, f"{path}[{i}]")
    elif not shape(value):
        raise _wrong(value, _EXPECTED[shape], where, path)


def _wrong(value: Any, expected: str, where: str, path: str) -> PointsError:
    return PointsError("the manifest is damaged", where=f"{where}: {path}", given=ascii(value)[:80], expected=expected)
