"""The settings of engines that benchsuite itself passes on: llama.cpp's by its own names, Ollama's as environment."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchsuite.errors import InputError

OLLAMA_SETTINGS = (
    "num-parallel",
    "context-length",
    "max-queue",
    "max-loaded-models",
    "keep-alive",
    "flash-attention",
    "kv-cache-type",
    "load-timeout",
    "sched-spread",
    "gpu-overhead",
    "models",
    "debug",
)


@dataclass(frozen=True, slots=True)
class LlamacppSettings:
    """Of the embedded engine: replies at once, tokens of context for each, compute threads, GGUF file, its name."""

    slots: int = 32
    ctx: int = 8192
    threads: int = 1
    model: Path | None = None
    name: str = "tiny-llama"


def llamacpp_settings(args: Sequence[str]) -> LlamacppSettings:
    """--slots, --ctx, --threads (whole numbers of at least 1), --model, --name. Raises InputError."""
    numbers = {"slots": 32, "ctx": 8192, "threads": 1}
    words: dict[str, str] = {}
    for flag, value in _pairs(args, (*numbers, "model", "name"), "llamacpp"):
        if flag in numbers:
            if not value.isdigit() or int(value) < 1:
                raise InputError(
                    f"--{flag} must be a whole number of at least 1", where="serve llamacpp", given=f"--{flag} {value}"
                )
            numbers[flag] = int(value)
        else:
            words[flag] = value
    model = Path(words["model"]) if "model" in words else None
    return LlamacppSettings(**numbers, model=model, name=words.get("name", "tiny-llama"))


def ollama_environment(args: Sequence[str]) -> dict[str, str]:
    """`ollama serve` takes no arguments: --num-parallel 8 is OLLAMA_NUM_PARALLEL=8. Raises InputError."""
    return {
        "OLLAMA_" + flag.upper().replace("-", "_"): value for flag, value in _pairs(args, OLLAMA_SETTINGS, "ollama")
    }


def _pairs(args: Sequence[str], known: Sequence[str], engine: str) -> list[tuple[str, str]]:
    pairs, rest = [], list(args)
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        name = flag.removeprefix("--")
        if not flag.startswith("--") or name not in known or not (equals or rest):
            close = difflib.get_close_matches(name, known, 1)
            raise InputError(
                f"{engine} has no such setting, or it has no value",
                where=f"serve {engine}",
                given=flag,
                expected=", ".join(f"--{each}" for each in known) + ", each with a value",
                hint=f"did you mean --{close[0]}?" if close else None,
            )
        pairs.append((name, value if equals else rest.pop(0)))
    return pairs
