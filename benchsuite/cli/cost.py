"""`benchsuite cost`: the hourly cost of a GPU, owned or rented. `benchsuite memory`: which GPUs hold a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from benchsuite.cli.options import (
    NOT_MET,
    PRICE_FILE,
    Number,
    age_warnings,
    as_of_option,
    gathered,
    given,
    json_option,
    print_json,
)
from benchsuite.cli.spec_options import model_options
from benchsuite.errors import PriceError
from benchsuite.level import as_plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchsuite.economics.memory import Fit, MemoryDemand
    from benchsuite.economics.prices import GpuHour
    from benchsuite.economics.sensitivity import Sensitivity, Spread

_OWNED = {
    "purchase_price": "Price of one GPU, in --currency.",
    "power_kw": "Mean power of one GPU under load.",
    "electricity_per_kwh": "Price of a kWh.",
    "pue": "Power usage effectiveness.  [default: 1.5]",
    "utilisation": "Share of all hours with billable work, for owned and reserved GPUs.  [default: 1]",
    "idle_kw": "Idle power of one GPU, in mode full.  [default: as under load]",
}
_RANGES = {
    "given": "as given",
    "preset": "the preset's",
    "quarter": "each input 25 % either way, within its valid range",
}


def _ranges(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for text in texts:
        name, _equals, ends = text.partition("=")
        low, _colon, high = ends.partition(":")
        key = name.strip().replace("-", "_")
        if key in found:
            raise PriceError("an input has two ranges", where="--uncertain", given=text, expected="each input once")
        try:
            found[key] = float(low), float(high)
        except ValueError:
            raise PriceError(
                "cannot parse the range", where="--uncertain", given=text, expected="KEY=LOW:HIGH"
            ) from None
    return found


@click.command(
    epilog="""\b
Examples:
  benchsuite cost --preset a800-owned --gpus 2
  benchsuite cost --preset a800-owned --sensitivity --gpus 2 --output-tok-s 1029
  benchsuite cost --usd-per-hour 0.9 --billing spot --interruptions-per-hour 0.05 --interruption-hours 0.5
  benchsuite cost --usd-per-hour 1.2 --billing reserved --utilisation 0.6
  benchsuite cost --usd-per-hour 2.0 --reserved-usd-per-hour 1.2 --reserved-ratio 0.7 --utilisation 0.9
"""
)
@model_options("OwnedSpec", words=_OWNED)
@click.option("--gpus", type=click.IntRange(min=1), default=1, show_default=True, help="GPUs in the machine.")
@click.option("--preset", help="A bundled price; see --list-presets.")
@click.option("--usd-per-hour", type=Number(), help="A rented GPU's price.")
@click.option(
    "--billing",
    type=click.Choice(["on-demand", "spot", "reserved"]),
    help="How a rented GPU is billed: while in use, as spot, or for all hours.  [default: on-demand]",
)
@model_options("Spot", but=("usd_per_hour",))
@click.option("--reserved-usd-per-hour", type=Number(), help="Mix: a reserved GPU's price, with --usd-per-hour.")
@click.option("--reserved-ratio", type=Number(), help="Mix: share of the useful hours on reserved GPUs.")
@PRICE_FILE
@as_of_option
@click.option("--sensitivity", "vary", is_flag=True, help="How much each input changes the cost, alone and together.")
@gathered(
    "draws",
    click.option(
        "--uncertain", multiple=True, callback=_ranges, help="KEY=LOW:HIGH, repeatable: range of an uncertain input."
    ),
    click.option("--samples", type=click.IntRange(100, 10_000_000), help="Monte-Carlo draws.  [default: 20000]"),
    click.option("--seed", type=click.IntRange(min=0), help="Seed of the draws.  [default: 0]"),
    click.option(
        "--output-tok-s", type=Number(), help="Measured output tokens/s of all --gpus: gives $ per 1M tokens."
    ),
    click.option(
        "--versus-usd-per-1m", type=Number(), help="Share of draws cheaper than this price of 1M output tokens."
    ),
)
@click.option("--list-presets", is_flag=True, help="Show the bundled prices with source and date.")
@json_option
def command(
    list_presets: bool, vary: bool, draws: dict[str, Any], as_json: bool, as_of: str | None, **flags: Any
) -> None:
    """The cost of a GPU-hour and its parts.

    Give --purchase-price, --years, --power-kw and --electricity-per-kwh for an owned GPU, or --preset, or
    --usd-per-hour.
    """
    from benchsuite.api import cost, price_book

    if list_presets:
        prices = [*price_book(flags["prices"]).gpus.values()]
        if as_json:
            keys = ("name", "usd_per_hour", "source", "as_of", "note")
            print_json([{key: getattr(price, key) for key in keys} for price in prices])
        else:
            title = "Prices of one GPU (not verified against vendors)"
            print_prices(prices, ("preset", "USD/h"), ["usd_per_hour"], ".4f", title)
        return
    draws = given(draws)
    if draws and not vary:
        flag = f"--{min(draws).replace('_', '-')}"
        raise PriceError(f"{flag} belongs to --sensitivity", where=flag, expected="--sensitivity with it")
    found = cost(**given(flags), sensitivity=draws if vary else None)
    warnings = age_warnings([found], as_of)
    if as_json:
        terms = found.terms.model_dump(exclude_none=True)
        print_json(as_plain(found) | {"terms": terms, "warnings": warnings})
    else:
        _print(found, warnings)


def _print(found: GpuHour, warnings: list[str]) -> None:
    from benchsuite.report.console import Console, say, table

    rows = [(name.removesuffix("_usd_per_hour"), f"{usd:.6f}") for name, usd in found.parts.items()]
    rows.append(("one GPU", f"{found.usd_per_hour:.6f}"))
    rows.append((f"{found.gpus} GPU{'s' * (found.gpus > 1)}", f"{found.usd_per_hour_total:.6f}"))
    styles = [*[""] * len(found.parts), "bold", ""]
    console, title = Console(), "Cost of an hour (US dollars)"
    console.print(table(console, ("part", "USD/h"), rows, left=("part",), styles=styles, title=title))
    for label in ("mode", "source", "as_of", "note"):
        if getattr(found, label):
            say(console, f"{label}: {getattr(found, label)}", indent=2)
    if found.sensitivity is not None:
        _print_sensitivity(found.sensitivity, console)
    if found.changed:
        say(console, f"changed here: {', '.join(found.changed)}", indent=2)
    say(console, f"assumed: {', '.join(_assumed(found.terms.model_dump(exclude_none=True)))}", style="dim", indent=2)
    for text in warnings:
        say(console, f"warning {text}", style="yellow", indent=2)


def _assumed(terms: dict[str, Any]) -> list[str]:
    """`name value` for each, those of a mixture's parts in brackets."""
    return [
        f"{name} ({', '.join(_assumed(value))})" if isinstance(value, dict)
        else f"{name} {value:,.15g}" if isinstance(value, int | float) else f"{name} {value}"
        for name, value in terms.items()
    ]  # fmt: skip


def _print_sensitivity(found: Sensitivity, console: Any) -> None:
    from benchsuite.report.console import say, table

    rows = [
        (s.key, f"{s.low:g}", f"{s.high:g}", f"{s.usd_at_low:.3f}", f"{s.usd_at_high:.3f}",
         "" if s.key not in found.sobol_total else f"{found.sobol_total[s.key]:.3f}")
        for s in found.tornado
    ]  # fmt: skip
    title = f"One input at a time (USD per GPU-hour, {found.usd_per_hour.value:.3f} as given)"
    heads = ("input", "from", "to", "USD/h from", "USD/h to", "share of variance")
    console.print(table(console, heads, rows, left=("input",), title=title))
    hour, per_1m = found.usd_per_hour, found.usd_per_1m_output_tokens
    say(console, f"all together, {hour.n:,} draws, seed {found.seed}: {_spread(hour, 'USD per GPU-hour')}")
    if per_1m is not None:
        say(console, f"{per_1m.value:.3f} USD/1M output tokens; {_spread(per_1m, 'with an uncertain price')}")
    if found.share_below is not None:
        say(console, f"cheaper than the price given in {found.share_below:.1%} of the draws")
    uniform = ", ".join(f"{name} {low:g} to {high:g}" for name, (low, high) in found.uniform.items())
    say(
        console,
        f"ranges: {_RANGES[found.ranges]}; shares of variance over the ranges of the table, draws over {uniform}, all "
        "uniform and independent",
        style="dim",
        indent=2,
    )
    say(console, "the cheapest level does not depend on the hourly price; the choice of API or own GPUs does")


def _spread(spread: Spread, what: str) -> str:
    return f"p5 {spread.p5:.3f}, p50 {spread.p50:.3f}, p95 {spread.p95:.3f} {what}"


def print_prices(prices: Sequence[Any], heads: Sequence[str], keys: Sequence[str], form: str, title: str) -> None:
    """Prices by name with where they are from, each source once. keys: of the figures; form: how they are written."""
    from benchsuite.report.console import Console, say, table
    from benchsuite.report.format import DASH

    console, sources, rows = Console(), list(dict.fromkeys(one.source for one in prices)), []
    for one in prices:
        figures = [DASH if (usd := getattr(one, key)) is None else format(usd, form) for key in keys]
        rows.append((one.name, *figures, one.as_of or DASH, str(sources.index(one.source) + 1)))
    console.print(table(console, (*heads, "as of", "source"), rows, left=heads[:1], title=title))
    for i, source in enumerate(sources, 1):
        say(console, f"source {i}: {source}", indent=4)
    for one in prices:
        if one.note:
            say(console, f"{one.name}: {one.note}", style="dim", indent=2)


@click.command(
    epilog="""\b
Examples:
  benchsuite memory --params-b 70 --layers 80 --kv-heads 8 --head-dim 128 --context 4096 --concurrency 32
"""
)
@model_options("MemoryDemand")
@json_option
def memory(as_json: bool, **flags: Any) -> int:
    """Which GPUs hold a model: weights and KV cache against the memory of 1, 2, 4 or 8 of them."""
    from benchsuite.api import memory_fit
    from benchsuite.economics.memory import MemoryDemand

    found = memory_fit(**given(flags))
    if as_json:
        print_json(found)
    else:
        _print_fits(found, MemoryDemand(**given(flags)))
    return 0 if any(one.fits for one in found) else NOT_MET


def _print_fits(found: list[Fit], asked: MemoryDemand) -> None:
    from benchsuite.report.console import Console, say, table
    from benchsuite.report.format import count, number

    rows = [
        (
            one.gpu.name, one.precision, number(one.weights_gb),
            f"{'' if one.fits else 'more than '}{one.gpu_count}", count(one.max_slots), number(one.kv_gb_per_slot),
        )
        for one in found
    ]  # fmt: skip
    console = Console()
    heads = ("GPU", "weights", "GB", "GPUs needed", "requests it holds", "KV GB a request")
    title = f"{asked.params_b:g}B at {asked.concurrency} requests of {asked.context_tokens:g} tokens"
    styles = ["" if one.fits else "dim" for one in found]
    console.print(table(console, heads, rows, left=("GPU", "weights"), styles=styles, title=title))
    say(
        console,
        f"assumed: {asked.memory_share:g} of the memory for the server, {asked.activation_gb:g} GB a GPU for "
        f"activations (measure it), KV cache in {asked.kv_precision}, weights without the scales of quantization, "
        f"1, 2, 4 or 8 GPUs in tensor parallel; memory: {found[0].gpu.source} {found[0].gpu.as_of}".rstrip(),
        style="dim",
    )
