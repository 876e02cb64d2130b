"""`benchsuite plan`: how many GPUs a demand needs, from a measured curve; or which GPUs a model fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from benchsuite.economics.capacity import CapacityPlan, Demand
    from benchsuite.economics.memory import Fit
    from benchsuite.report.judge import Judgement, PriceOverride
    from benchsuite.results import EvaluatedLevel


def show_fit(flags: dict[str, Any], as_json: bool) -> bool:
    """Print the fits that the flags ask for; True if there is one. Raises InputError."""
    from benchsuite.economics.memory import GPUS, Gpu, ModelShape, Reserve, fits

    own = flags["gpu_memory_gb"]
    found = fits(
        ModelShape(flags["params_b"], flags["layers"], flags["kv_heads"], flags["head_dim"]),
        gpus=GPUS if own is None else (Gpu(f"{own:g} GB", own, "--gpu-memory-gb", ""),),
        precisions=flags["precision"] or ("fp16", "int8", "int4"),
        context_tokens=flags["context"],
        concurrency=flags["concurrency"],
        kv_precision=flags["kv_precision"],
        reserve=Reserve(flags["memory_share"], flags["activation_gb"]),
    )
    if as_json:
        click.echo(json.dumps([_plain(one) for one in found], indent=2))
    else:
        _print_fit(found, flags)
    return any(one.fits for one in found)


def _plain(one: Fit) -> dict[str, Any]:
    return {
        "gpu": one.gpu.name,
        "memory_gb": one.gpu.memory_gb,
        "source": one.gpu.source,
        "as_of": one.gpu.as_of or None,
        "precision": one.precision,
        "fits": one.fits,
        "gpus_needed": one.gpu_count if one.fits else None,
        "single_gpu": one.fits and one.gpu_count == 1,
        "gpus_tried": one.gpu_count,
        "max_slots": one.max_slots,
        "weights_gb": one.weights_gb,
        "kv_gb_per_slot": one.kv_gb_per_slot,
    }


def _print_fit(found: list[Fit], flags: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from benchsuite.report.console import say
    from benchsuite.report.format import count, number

    console = Console()
    title = f"{flags['params_b']:g}B at {flags['concurrency']} requests of {flags['context']:g} tokens"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("GPU", "weights", "GB", "GPUs needed", "requests it holds", "KV GB a request"):
        table.add_column(name, justify="left" if name in ("GPU", "weights") else "right")
    for one in found:
        table.add_row(
            one.gpu.name,
            one.precision,
            number(one.weights_gb),
            str(one.gpu_count) if one.fits else f"more than {one.gpu_count}",
            count(one.max_slots),
            number(one.kv_gb_per_slot),
            style="" if one.fits else "dim",
        )
    console.print(table)
    source = found[0].gpu
    say(
        console,
        f"assumed: {flags['memory_share']:g} of the memory is the server's, {flags['activation_gb']:g} GB a GPU for "
        f"activations (measure it), KV cache in {flags['kv_precision']}, weights without the scales of quantisation, "
        f"1, 2, 4 or 8 GPUs in tensor parallel; memory: {source.source} {source.as_of}".rstrip(),
        style="dim",
    )


NOT_MET = 3  # exit code: measured, but no level meets the SLO; or no GPU of the table fits

_SHAPE = ("params_b", "layers", "kv_heads", "head_dim", "context", "concurrency")


@click.command(
    epilog="""\b
Examples:
  benchsuite plan results/mine --requests-per-day 2000000 --usd-per-hour 1.99
  benchsuite plan --points docs/examples/paper_table4.csv --model Qwen3-30B --users 500 --usd-per-hour 0.79 --gpus 2
  benchsuite plan results/mine --hours requests_by_hour.csv --spare 2 --json
  benchsuite plan --fit --params-b 70 --layers 80 --kv-heads 8 --head-dim 128 --context 4096 --concurrency 32
"""
)
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--points", type=click.Path(path_type=Path), help="A CSV table of points instead of a run folder.")
@click.option("--model", help="The model of the table.")
@click.option("--slo", help="For example 'ttft_mean<1s,throughput>20'.  [default: the run's, or that]")
@click.option("--level", type=int, help="Concurrency to run a replica at.  [default: the recommended optimum]")
@click.option("--requests-per-day", type=float, help="Demand: requests a day, in the mean.")
@click.option("--users", type=float, help="Demand: users at once, at the peak.")
@click.option("--think-s", type=float, default=0.0, show_default=True, help="A user's pause before the next request.")
@click.option("--tokens-per-month", type=float, help="Demand: input and output tokens in 730 hours.")
@click.option("--hours", type=click.Path(path_type=Path), help="Demand: CSV with a column `requests`, a line an hour.")
@click.option("--peak-factor", type=float, help="Peak over mean.  [default: 3; measured with --hours]")
@click.option("--headroom", type=float, default=0.8, show_default=True, help="Share of the measured rate to plan with.")
@click.option("--spare", type=int, default=1, show_default=True, help="Replicas beyond those that carry the peak.")
@click.option("--usd-per-hour", type=float, help="Price of one GPU-hour.  [default: the run's]")
@click.option("--preset", help="A price by name, bundled or of --prices; see `benchsuite cost --list-presets`.")
@click.option("--prices", type=click.Path(path_type=Path), help="Your own price file (TOML).")
@click.option("--gpus", type=click.IntRange(min=1), help="GPUs of a replica.  [default: the run's, or 1]")
@click.option("--fit", "as_fit", is_flag=True, help="Memory instead: on which GPUs a model of this shape fits.")
@click.option("--params-b", type=float, help="Fit: all parameters, in 1e9.")
@click.option("--layers", type=int, help="Fit: layers.")
@click.option("--kv-heads", type=int, help="Fit: key/value heads (not query heads).")
@click.option("--head-dim", type=int, help="Fit: size of a head.")
@click.option("--context", type=float, help="Fit: mean tokens of a request in flight, prompt and answer.")
@click.option("--concurrency", type=int, help="Fit: requests at once.")
@click.option("--precision", multiple=True, help="Fit: of the weights, repeatable.  [default: fp16, int8, int4]")
@click.option("--kv-precision", default="fp16", show_default=True, help="Fit: of the KV cache.")
@click.option("--memory-share", type=float, default=0.9, show_default=True, help="Fit: what the server may use.")
@click.option("--activation-gb", type=float, default=2.0, show_default=True, help="Fit: kept for work, per GPU.")
@click.option("--gpu-memory-gb", type=float, help="Fit: one GPU of this memory instead of the table.")
@click.option("--json", "as_json", is_flag=True, help="Plain data on stdout.")
def command(run: Path | None, points: Path | None, as_fit: bool, as_json: bool, **flags: Any) -> int:
    """Replicas, GPUs and monthly cost for a demand, or with --fit the GPUs that hold a model."""
    if as_fit:
        from benchsuite.errors import InputError

        if run is not None or points is not None:
            raise InputError("--fit needs no measurement", given=str(run or points), expected="the model's shape alone")
        for key in _SHAPE:
            if flags[key] is None:
                raise InputError(
                    "the model's shape is not complete", where="--" + key.replace("_", "-"), given="nothing"
                )
        return 0 if show_fit(flags, as_json) else NOT_MET
    given = next((key for key in _SHAPE if flags[key] is not None), None)
    if given is not None:
        raise click.UsageError(f"--{given.replace('_', '-')} belongs to --fit.")
    return _capacity(run, points, flags, as_json)


def _capacity(run: Path | None, points: Path | None, flags: dict[str, Any], as_json: bool) -> int:
    from benchsuite.cli.options import price_override, read_judgements
    from benchsuite.economics.capacity import plan
    from benchsuite.report.judge import select_model

    price = price_override(flags)
    judgement = select_model(read_judgements([run] if run else [], points, flags["slo"], price), flags["model"])
    level = _level(judgement, flags["level"])
    if level is None:
        if as_json:
            click.echo(
                json.dumps({"model": judgement.model, "replicas": None, "reason": judgement.decision.reason}, indent=2)
            )
        else:
            click.echo(judgement.decision.reason)
        return NOT_MET
    found = plan(
        level,
        judgement.judged,
        _demand(level, flags),
        judgement.slo,
        headroom_ratio=flags["headroom"],
        spare=flags["spare"],
        gpus_per_replica=judgement.gpus,
    )
    if as_json:
        click.echo(json.dumps(plain(found, judgement, price), indent=2))
    else:
        _print(found, judgement, price)
    return 0


def _level(judgement: Judgement, asked: int | None) -> EvaluatedLevel | None:
    """The level asked for, or the one recommended; None if no level meets the SLO."""
    from benchsuite.errors import InputError

    if asked is None:
        return judgement.decision.recommended if judgement.decision.kind == "optimum" else None
    for one in judgement.judged:
        if one.point.concurrency == asked:
            return one
    levels = ", ".join(str(one.point.concurrency) for one in judgement.judged)
    raise InputError(
        "the level was not measured, and the curve is not extended", where="--level", given=asked, expected=levels
    )


def _demand(level: EvaluatedLevel, flags: dict[str, Any]) -> Demand:
    from benchsuite.economics import capacity
    from benchsuite.economics.capacity import service_time_s, tokens_per_request
    from benchsuite.errors import InputError
    from benchsuite.input_files import read_text

    ways = {name: flags[name] for name in ("requests_per_day", "users", "tokens_per_month", "hours")}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) != 1:
        raise InputError(
            "exactly one way to tell the demand",
            given=" and ".join("--" + name.replace("_", "-") for name in given) or "none",
            expected="one of " + ", ".join("--" + name.replace("_", "-") for name in ways),
        )
    if flags["think_s"] and given != ["users"]:
        raise InputError("only users think", where="--think-s", given=flags["think_s"], expected="with --users")
    if given == ["hours"]:
        if flags["peak_factor"] is not None:
            raise InputError(
                "the hours tell the peak themselves", where="--peak-factor", given=flags["peak_factor"], expected="none"
            )
        where = str(flags["hours"])
        return capacity.of_hours(capacity.parse_hours(read_text(flags["hours"], "the table of hours"), where), where)
    factor = capacity.PEAK_FACTOR if flags["peak_factor"] is None else flags["peak_factor"]
    if given == ["users"]:
        service_s = service_time_s(level.point)
        return capacity.of_users(flags["users"], service_s, think_s=flags["think_s"], peak_factor=factor)
    if given == ["tokens_per_month"]:
        return capacity.per_month(flags["tokens_per_month"], tokens_per_request(level.point), factor)
    return capacity.per_day(flags["requests_per_day"], factor)


def plain(found: CapacityPlan, judgement: Judgement, price: PriceOverride) -> dict[str, Any]:
    """The plan as plain data: its fields, the queue's figures and the assumptions."""
    import dataclasses

    tree = dataclasses.asdict(found)
    tree["queue"] |= {
        "p_wait": found.queue.p_wait,
        "mean_wait_s": found.queue.mean_wait_s,
        "p_wait_over_1s": found.queue.p_wait_over(1.0),
    }
    return {
        **tree,
        "slo": str(judgement.slo),
        "usd_per_hour_replica": judgement.usd_per_hour_total,
        "price": None if judgement.usd_per_hour_total is None else price.source,
        "assumptions": ASSUMPTIONS,
    }


ASSUMPTIONS = [
    "a month has 730 hours, and every replica is paid for in all of them",
    "a replica is the machine measured, at the measured mix of requests",
    "waits by Erlang-C: Poisson arrivals, one line before all slots, service as long as at the full level",
    "the rate is that of the whole run, its drain included: a little low",
    "measured as a closed loop: confirm the rate once with an open loop",
]


def sentence(found: CapacityPlan) -> str:
    """'3 replicas for your load with one spare: ...'."""
    spare = {0: "without a spare", 1: "with one spare"}.get(found.spare, f"with {found.spare} spare")
    each = found.gpus // found.replicas
    gpus = "" if each == 1 else f" ({found.gpus} GPUs)"
    carry = "1 carries" if found.working == 1 else f"{found.working} carry"
    return (
        f"{found.replicas} replica{'s' * (found.replicas > 1)}{gpus} for your load {spare}: {carry} the peak of "
        f"{found.demand.peak_per_s:.3g} requests/s at concurrency {found.concurrency} each"
    )


def _print(found: CapacityPlan, judgement: Judgement, price: PriceOverride) -> None:
    from rich.console import Console
    from rich.table import Table

    from benchsuite.report.console import say
    from benchsuite.report.format import DASH, number, percent, usd, warning_text

    console, queue = Console(), found.queue
    say(console, sentence(found), style="bold green", indent=2)
    say(console, f"demand: {found.demand.told}", indent=2)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    if queue.p_wait < 1e-4:
        waits = "under 0.01 % wait"
    else:
        over = percent(queue.p_wait_over(1.0))
        waits = f"{percent(queue.p_wait)} wait, {number(queue.mean_wait_s)} s in the mean; {over} longer than 1 s"
    low, high = found.measured_levels
    for name, value in (
        ("rate of a replica", f"{number(found.request_per_s)} requests/s"),
        ("peak load of the working ones", percent(found.peak_load_ratio)),
        ("at the peak", waits),
        ("added for the waits", str(found.raised_by_wait)),
        ("mean load of all, idle hours in", percent(found.mean_load_ratio)),
        ("cost a month", usd(found.usd_per_month)),
        ("per request at that load", usd(found.usd_per_request)),
        ("$/1M output tokens at that load", usd(found.usd_per_1m_output_tokens)),
        ("$/1M output tokens at full load", usd(found.usd_per_1m_output_tokens_full)),
        ("levels measured", f"{low} to {high}"),
    ):
        table.add_row(name, value if console.encoding.startswith("utf") else value.replace(DASH, "-"))
    console.print(table)
    for text in found.unchecked:
        say(console, f"not checked against the waits, for want of a figure: {text}", style="yellow", indent=2)
    for warn in found.warnings:
        at = () if warn.concurrency is None else (warn.concurrency,)
        say(console, f"warning {warn.code} {warning_text(warn, at)}", style="yellow", indent=2)
    hourly = judgement.usd_per_hour_total
    rate = "no price given" if hourly is None else f"a replica costs {usd(hourly)} an hour, {price.source}"
    said = (rate, f"headroom {found.headroom_ratio:g}", f"SLO {judgement.slo}", *ASSUMPTIONS)
    say(console, "assumed: " + "; ".join(said), style="dim")
