"""Our errors; and JSON and TOML that others wrote, as plain data: whatever it holds, the only error is a ValueError."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from benchsuite.redact import mask_chain, masked, remember_secrets


class BenchsuiteError(Exception):
    """Something went wrong; the message says what, where, what was given, what was expected, and what to do."""

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        given: object = None,
        expected: str | None = None,
        hint: str | None = None,
    ) -> None:
        mask_chain(sys.exc_info()[1])  # what this one is raised from is shown with it
        self.what, self.where, self.given = masked(what), shown(where), shown(given)
        self.expected, self.hint = shown(expected), shown(hint)
        lines = [self.what]
        named = {"where": self.where, "given": self.given, "expected": self.expected, "try": self.hint}
        for label, value in named.items():
            if value is not None:  # a line of foreign text is none of ours
                lines.append(f"  {label + ':':<10}" + re.sub(r"\n(?! {4})", "\n    ", value))
        super().__init__("\n".join(lines))

    def add_line(self, label: str, text: str) -> None:
        """A further line of the message."""
        self.args = (f"{self}\n  {label + ':':<10}{text}",)


def shown(value: object, form: Callable[[object], str] = str) -> str | None:
    """A value that was given, masked; None stays None."""
    try:
        return None if value is None else masked(form(value))
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "a number of thousands of digits"


@contextlib.contextmanager
def os_error_as(
    kind: type[BenchsuiteError], what: str, where: object = None, *, hint: str | None = None
) -> Iterator[None]:
    """An OSError in the block becomes an error of this kind."""
    try:
        yield
    except OSError as error:
        raise kind(what, where=None if where is None else str(where), given=str(error), hint=hint) from error


class InputError(BenchsuiteError):
    """The input is wrong and nothing was measured."""

    exit_code = 2


class SpecError(InputError):
    """A sweep specification (file or flags) does not hold together."""


class SloError(InputError):
    """An SLO expression does not parse."""


class WorkloadError(InputError):
    """A request set cannot be read or is not usable."""


class PointsError(InputError):
    """A points table or run folder cannot be read."""


class PriceError(InputError):
    """A price or cost parameter makes no sense."""


class RunError(BenchsuiteError):
    """The run could not be done; what was measured before stays on disk."""


class ServerUnreachable(RunError):
    """Nothing answers at the base URL."""


class ServerRefused(RunError):
    """The server answers but refuses what the run needs."""


class EngineError(RunError):
    """A server started by benchsuite did not become ready or died."""


class ServerDied(EngineError):
    """A server that we started ended while it was measured."""


class StoreError(RunError):
    """Facts could not be written or read."""


class TelemetryError(RunError):
    """GPUs cannot be sampled: no library, no driver, no such GPU. A sweep goes on without them and says so."""


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The hint that names the nearest of the known words; None where none is near."""
    return next((f"did you mean {close!r}?" for close in difflib.get_close_matches(word, [*known], 1, cutoff)), None)


def user_path(name: str) -> Path:
    """The path, with ~ resolved where that user is known (Path.expanduser raises RuntimeError where not)."""
    return Path(os.path.expanduser(name))  # noqa: PTH111


def read_json(text: str | bytes, each: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """The JSON in `text`; each: takes the place of every object. Raises ValueError, also where it is nested too deeply
    or no UTF-8."""
    try:
        return json.loads(text, object_hook=each)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_toml(text: str) -> dict[str, Any]:
    """The TOML in `text`. Raises ValueError, also where it is too long or too deep, a number has too many digits, or a
    text holds NUL, which no path can.
    """
    import tomllib  # not above: this file is part of every start

    from benchsuite.limits import most

    if len(text) > most("toml_chars"):
        raise ValueError(f"TOML of more than {most('toml_chars'):,} characters")
    part = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
    if re.search(rf"""(?<![\w"'-])(?:{part}[ \t]*+\.[ \t]*+){{{most("toml_parts")}}}""", text):
        raise ValueError(f"a key of more than {most('toml_parts')} parts")  # tomllib takes the square of them
    remember_secrets({}, text)
    try:
        tree = tomllib.loads(text)
        if _holds_nul(tree):
            raise ValueError("a text in it holds NUL")
        return tree
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _holds_nul(tree: Any) -> bool:
    if isinstance(tree, dict):
        return any(map(_holds_nul, (*tree, *tree.values())))
    return any(map(_holds_nul, tree)) if isinstance(tree, list) else isinstance(tree, str) and "\0" in tree
