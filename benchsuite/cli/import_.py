"""`benchsuite import`: another tool's result files as a run folder of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

NOT_MET = 3  # exit code: imported, but no level meets the SLO
TOOLS = ("vllm-bench", "guidellm", "aiperf")


def _levels(_: click.Context, __: click.Parameter, value: str | None) -> list[int]:
    try:
        levels = [int(level) for level in (value or "").split(",") if level.strip()]
    except ValueError:
        levels = [0]
    if any(not 0 < level < 2**31 for level in levels):
        raise click.BadParameter(f"{value!r} is not a whole number of at least 1, or a list such as 8,16,32")
    return levels


@click.command(
    epilog="""\b
Examples:
  benchsuite import vllm-bench c8.json c16.json --usd-per-hour 1.99 --output results/theirs
  benchsuite import guidellm benchmarks.json --output results/theirs
  benchsuite import aiperf c8/profile_export.jsonl c16/profile_export.jsonl --concurrency 8,16 --output results/theirs
"""
)
@click.argument("tool", type=click.Choice(TOOLS))
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--concurrency", callback=_levels, help="Where the files do not tell: one level for all, or one each.")
@click.option("--model", help="Where the files do not tell.")
@click.option("--usd-per-hour", type=float, help="Price of one GPU-hour.")
@click.option("--preset", help="A bundled price instead; see `benchsuite cost --list-presets`.")
@click.option("--gpus", type=int, help="GPUs that served the model.  [default: 1]")
@click.option("--slo", help="Limits that must hold.  [default: ttft_mean<1s,output_throughput_per_user>20]")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="The run folder, a new one.")
@click.option("--quiet", is_flag=True, help="Print the decision and nothing else.")
def command(
    tool: str,
    files: tuple[Path, ...],
    concurrency: list[int],
    model: str | None,
    output: Path,
    quiet: bool,
    **flags: Any,
) -> int:
    """Make a run folder of result FILES of another TOOL, and decide by our definitions.

    Files of one level each (or GuideLLM's, of several) become the levels of one run; several of the same level are
    its repeats. What a file lacks stays empty. vllm bench needs --save-result --save-detailed. Exit codes: 0 the SLO
    is met at some level, 3 at none, 2 bad input.
    """
    from benchsuite.importers.imported_run import imported_run, with_levels
    from benchsuite.report.judge import unit_price
    from benchsuite.report.page import write_judged
    from benchsuite.report.terminal import print_judgement
    from benchsuite.spec_reading import load_spec
    from benchsuite.store.run_folder import new_run_id, read_run, write_whole_run

    price = {f"price.{key}": flags[key] for key in ("usd_per_hour", "preset", "gpus")}
    points = with_levels([point for path in files for point in _read(tool, path)], concurrency)
    name = next((point.model for point in points if point.model), model) or tool
    manifest, keys, rows = imported_run(points, run_id=new_run_id(name), model=model)
    spec = load_spec(None, {**keys, **price, "slo": flags["slo"]})
    unit_price(spec.price)
    write_whole_run(output, manifest | {"spec": spec.model_dump(mode="json")}, rows)
    judgement = write_judged(read_run(output))
    if not quiet:
        click.echo(f"{len(rows)} requests of {len(points)} point(s) imported from {tool}. What differs from ours:")
        click.echo("".join(f"  - {line}\n" for line in manifest["imported"]["definitions"]))
    print_judgement(judgement, output, quiet=quiet)
    return 0 if judgement.decision.kind == "optimum" else NOT_MET


def _read(tool: str, path: Path) -> list[Any]:
    """The points of one file, with its hash."""
    import dataclasses
    import hashlib
    import importlib

    from benchsuite.errors import PointsError

    try:
        content = path.read_bytes()
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PointsError("the result file cannot be read", where=str(path), given=str(error)) from None
    parse = importlib.import_module(f"benchsuite.importers.{tool.replace('-', '_')}").parse
    sha256 = hashlib.sha256(content).hexdigest()
    return [
        dataclasses.replace(point, facts={"file": path.name, "sha256": sha256} | point.facts)
        for point in parse(text, where=str(path))
    ]
