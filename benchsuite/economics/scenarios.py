"""Cost scenarios that someone has printed, worked out again: the figure as it is, beside the one that was printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchsuite.economics.demand import HOURS_PER_MONTH
from benchsuite.economics.tco import SelfHost, break_even, require
from benchsuite.errors import PriceError
from benchsuite.parsing import read_toml

_NUMBERS = ("requests_per_day", "tokens_per_request", "days", "api_usd_per_1m_tokens", "usd_per_hour", "gpus")
_PRINTED = ("api_usd", "own_usd", "saving_ratio")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One month, API against own hosting. saving_ratio: 1 - own / API, negative where own hosting is dearer.

    break_even_tokens: tokens per month, own capacity not limited. printed: the same figures as they were printed
    (api_usd, own_usd, saving_ratio); why: what makes them differ.
    """

    name: str
    what: str
    tokens_per_month: float
    api_usd_per_1m_tokens: float
    api_usd: float
    own_usd: float
    saving_ratio: float
    break_even_tokens: float | None
    printed: Mapping[str, float]
    why: str


def parse_scenarios(text: str, where: str) -> tuple[Scenario, ...]:
    """A TOML file of [[scenario]] tables, worked out. Raises PriceError naming the scenario and the key."""
    try:
        tree = read_toml(text)
    except ValueError as error:
        raise PriceError("the scenarios do not parse", where=where, given=error, expected="TOML") from None
    entries = tree.get("scenario")
    if not isinstance(entries, list) or not entries:
        raise PriceError("no scenarios", where=where, expected="[[scenario]] tables")
    return tuple(_scenario(entry, f"{where}: scenario {i}") for i, entry in enumerate(entries, 1))


def _scenario(entry: Any, where: str) -> Scenario:
    if not isinstance(entry, Mapping):
        raise PriceError("a scenario is a table", where=where, given=entry, expected="[[scenario]] tables")
    known = (*_NUMBERS, "name", "what", "hours_per_month", "why", "printed")
    if unknown := [key for key in entry if key not in known]:
        raise PriceError(f"unknown key {unknown[0]!r}", where=where, given=unknown[0], expected=", ".join(known))
    for key in _NUMBERS:
        if not isinstance(entry.get(key), int | float):
            raise PriceError(f"a scenario lacks {key}", where=where, given=entry.get(key), expected="a number")
        require(f"{where}: {key}", entry[key], 0, float("inf"), "at least 0")
    printed = entry.get("printed", {})
    if not isinstance(printed, Mapping):
        raise PriceError("printed is a table", where=where, given=printed, expected=", ".join(_PRINTED))
    if unknown := [key for key in printed if key not in _PRINTED]:
        raise PriceError("unknown key", where=f"{where}: printed", given=unknown[0], expected=", ".join(_PRINTED))
    tokens = entry["requests_per_day"] * entry["tokens_per_request"] * entry["days"]
    per_1m = entry["api_usd_per_1m_tokens"]
    hours = entry.get("hours_per_month", HOURS_PER_MONTH)
    host = SelfHost(entry["usd_per_hour"] * entry["gpus"], None, hours_per_month=hours)
    api, own = tokens / 1e6 * per_1m, host.month_usd(tokens)
    if not api:
        raise PriceError("a scenario without API cost has no saving", where=where, given=0, expected="tokens, a price")
    return Scenario(
        name=str(entry.get("name", where)),
        what=str(entry.get("what", "")),
        tokens_per_month=tokens,
        api_usd_per_1m_tokens=per_1m,
        api_usd=api,
        own_usd=own,
        saving_ratio=1 - own / api,
        break_even_tokens=break_even(per_1m, host).simple_tokens,
        printed=dict(printed),
        why=str(entry.get("why", "")),
    )
