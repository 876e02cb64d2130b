"""Whether two runs may be compared: what differs between their manifests, and what of it forbids it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchsuite.errors import InputError

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
