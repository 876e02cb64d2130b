"""Ollama's model: pulled if it is not there, loaded, and what it says of it."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchsuite.errors import EngineError
from benchsuite.serving.ask import ask_json, post_json_lines

_TELL_EVERY_S = 5.0
_LOAD_TIMEOUT_S = 1800.0


def ensure_model(base_url: str, model: str, on_wait: Callable[[str], None]) -> None:
    """Pull `model` unless it is there, and load it for good, so that no request pays for it. Raises EngineError."""
    listed = ask_json(base_url, "/api/tags") or {}
    names = {str(entry.get("name")) for entry in listed.get("models") or () if isinstance(entry, dict)}
    if not {model, f"{model}:latest"} & names:
        on_wait(f"pulling {model}")
        _post(base_url, "/api/pull", {"model": model, "stream": True}, on_wait, f"ollama cannot pull {model}")
    on_wait(f"loading {model}")
    _post(
        base_url,
        "/api/generate",
        {"model": model, "keep_alive": -1, "stream": False},
        on_wait,
        f"ollama cannot load {model}",
    )


def quantisation_of(base_url: str, model: str) -> str | None:
    """Such as Q4_K_M; None where Ollama does not say."""
    try:
        for told in post_json_lines(base_url, "/api/show", {"model": model}, timeout_s=10.0):
            details = told.get("details")
            level = details.get("quantization_level") if isinstance(details, dict) else None
            return str(level) if level else None
    except OSError:
        pass
    return None


def _post(base_url: str, path: str, body: dict[str, object], on_wait: Callable[[str], None], failed: str) -> None:
    told_s = time.monotonic()
    try:
        for line in post_json_lines(base_url, path, body, timeout_s=_LOAD_TIMEOUT_S):
            if "error" in line:
                raise EngineError(failed, where=base_url + path, given=line["error"])
            if time.monotonic() - told_s >= _TELL_EVERY_S and "status" in line:
                told_s = time.monotonic()
                done, total = line.get("completed"), line.get("total")
                share = (
                    f" {100 * done / total:.0f} %" if isinstance(done, int) and isinstance(total, int) and total else ""
                )
                on_wait(f"{line['status']}{share}")
    except OSError as error:
        raise EngineError(failed, where=base_url + path, given=str(error)) from error
