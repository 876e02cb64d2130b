"""Whether two runs may be compared: what differs between their manifests, and what of it forbids it. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchsuite.errors import InputError, PointsError

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


GROUPS = {
    "machine": "the GPUs, and the client's CPU",
    "driver": "the GPU driver",
    "model": "the model's name",
    "workload": "the requests, and how they are asked",
    "client": "the measuring client's driver, workers and stamps; and that it was at its limit",
    "schema": "the version of the run folder",
    "levels": "the concurrency levels",
}
_MISSING = "not known"


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact that two runs have not alike. group: a key of GROUPS, None where the difference is only told."""

    group: str | None
    what: str
    new: str
    baseline: str

    def __str__(self) -> str:
        return f"{self.what}: {self.baseline} in the baseline, {self.new} in the run"


def differences(new: Mapping[str, Any], baseline: Mapping[str, Any]) -> list[Difference]:
    """What the two manifests have not alike, of what can change a figure. A fact that one lacks differs."""
    a, b = _facts(new), _facts(baseline)
    return [Difference(group, what, _said(a[group, what]), _said(b[group, what])) for group, what in a if (
        a[group, what] != b[group, what]
    )]  # fmt: skip


def refuse_unlike(found: Sequence[Difference], allowed: Collection[str]) -> list[str]:
    """What may differ, in words. Raises InputError naming every difference that may not and is not allowed."""
    refused = [one for one in found if one.group is not None and one.group not in allowed]
    if refused:
        groups = list(dict.fromkeys(str(one.group) for one in refused))
        raise InputError(
            "the baseline is of something else, so the runs do not compare:\n    " + "\n    ".join(map(str, refused)),
            where="--baseline",
            expected="the same " + ", ".join(GROUPS),
            hint=f"measure a baseline here; or compare all the same with --allow {','.join(groups)}",
        )
    return [str(one) + ("" if one.group is None else f" (--allow {one.group})") for one in found]


def _facts(manifest: Mapping[str, Any]) -> dict[tuple[str | None, str], Any]:
    spec, host = manifest.get("spec") or {}, manifest.get("host") or {}
    server, load, workload = (spec.get(key) or {} for key in ("server", "load", "workload"))
    preflight = manifest.get("preflight") or {}
    gpu = (manifest.get("telemetry") or {}).get("gpu") or {}
    own = [one for one in manifest.get("endpoints") or [] if one.get("role") == "own"]
    asked = ("fixed_length", "max_output_tokens")
    return {
        ("machine", "GPUs"): _gpus(gpu),
        ("machine", "client CPU"): _joined(host.get("cpu_model"), host.get("cpu_count")),
        ("machine", "servers"): max(len(own), 1),
        ("driver", "GPU driver"): gpu.get("driver"),
        ("model", "model"): manifest.get("model"),
        ("schema", "schema of the run folder"): manifest.get("schema"),
        ("workload", "workload hash"): (manifest.get("workload") or {}).get("content_hash"),
        **{("workload", f"workload.{key}"): workload.get(key) for key in asked},
        ("workload", "cache busting"): preflight.get("cache_bust", workload.get("cache_bust")),
        **{("workload", f"server.{key}"): server.get(key) for key in ("endpoint", "stream", "extra_body")},
        ("client", "driver"): load.get("driver"),
        ("client", "workers"): manifest.get("workers", load.get("workers")),
        ("client", "stamps"): preflight.get("stamp_source"),
        (None, "server"): preflight.get("profile"),
        (None, "server version"): _version(preflight.get("server") or {}),
        (None, "server started as"): (manifest.get("served") or {}).get("plan"),
        (None, "benchsuite"): _joined(manifest.get("benchsuite"), str(host.get("code_hash") or "")[:12] or None),
        (None, "kernel"): host.get("platform"),
    }


def _gpus(gpu: Mapping[str, Any]) -> str | None:
    used = gpu.get("used") or []
    names = {device.get("uuid"): device.get("name") for device in gpu.get("devices") or []}
    return ", ".join(sorted(f"{names.get(uuid)} {uuid}" for uuid in used)) or None


def _version(server: Mapping[str, Any]) -> Any:
    return server.get("version") or server.get("build_info")


def _joined(*parts: Any) -> str | None:
    known = [str(part) for part in parts if part is not None]
    return ", ".join(known) or None


def _said(value: Any) -> str:
    return _MISSING if value is None else " ".join(str(value).split())
