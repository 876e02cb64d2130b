"""What the command line refuses: exit code 2, and the flag, key or file that is to blame. The words are snapshots."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from command_line import CommandLine
from syrupy.assertion import SnapshotAssertion

PAPER = "--levels-csv paper_table4.csv"
SCORED = f"{PAPER} --scores paper_scores.csv"
PLAN = f"{PAPER} --model Qwen3-30B --usd-per-hour 0.79 --gpus 2"
ASKED = f"{PLAN} --requests-per-day 9"
SHAPE = "--params-b 70 --layers 80 --kv-heads 8 --head-dim 128"
FIT = f"{SHAPE} --context 4096 --concurrency 32"
OWNED = "--purchase-price 1000 --years 3 --power-kw .4 --electricity-per-kwh 1 --currency CNY"
URL = "--base-url http://127.0.0.1:9"
AGAINST = "slower --baseline repeated"
USAGE = "usage"  # click's own errors name the option in their words

# verb -> flags -> where
REFUSED: dict[str, dict[str, str | None]] = {
    "decide": {
        "": None,
        f"demo {PAPER}": None,
        "demo demo": None,
        "no-such-folder": "no-such-folder",
        "no-rows": "no-rows/requests.parquet",
        "none-whole": "none-whole",
        "--levels-csv no-such.csv": "no-such.csv",
        "demo --slo ''": "--slo",
        f"{PAPER} --slo speed>20": "--slo",
        f"{PAPER} --usd-per-hour -1": "usd_per_hour",
        f"{PAPER} --usd-per-hour 1 --preset l4": None,
        "demo --usd-per-our 1": USAGE,
    },
    "check": {
        "": None,
        f"demo {PAPER}": None,
        "no-such-folder": "no-such-folder",
        f"{PAPER} --slo speed>20": "--slo",
        f"{PAPER} --usd-per-hour -1": "usd_per_hour",
        f"{PAPER} --attribution": "--attribution",
        f"{PAPER} --energy": "--energy",
        f"{PAPER} --balance": "--balance",
    },
    "frontier": {
        "--scores paper_scores.csv": None,
        SCORED: "paper_table4.csv",
        f"{PAPER} --scores no-such.csv --usd-per-hour 1": "no-such.csv",
        "--levels-csv no-such.csv --scores paper_scores.csv --usd-per-hour 1": "no-such.csv",
        f"{SCORED} --usd-per-hour -1": "usd_per_hour",
        f"{SCORED} --usd-per-hour 1 --svg no-such-folder/f.svg": "no-such-folder/f.svg",
        f"{SCORED} --usd-per-hour 1 --preset l4": None,
        f"{SCORED} --usd-per-hour 1 --slo speed>2": "--slo",
        f"{SCORED} --usd-per-hour 1 --prices matrix_vllm.toml": "--preset",
        "--levels-csv two-sizes.csv --scores paper_scores.csv --usd-per-hour 1": "requests",
    },
    "cost": {
        "": None,
        "--preset l4 --usd-per-hour 1": None,
        "--purchase-price 1000": "flags",
        "--purchase-price 1000 --years 3": "power_kw",
        f"{OWNED} --pue 0.5 --utilisation 0": "flags",
        "--preset h200": "preset",
        "--usd-per-hour -1 --mode full --interruption-hours 1": "flags",
        "--usd-per-hour 1 --billing reserved --utilisation 0": "flags",
        "--usd-per-hour 1 --billing spot --fallback-ratio 0.5": "flags",
        "--usd-per-hour 1 --reserved-ratio .5": "--reserved-usd-per-hour",
        "--usd-per-hour 1 --reserved-ratio 1.5 --reserved-usd-per-hour 1": "flags",
        "--preset a800-owned --billing spot --pue .9": "flags",
        "--preset a800-owned --output-tok-s 9": "--output-tok-s",
        "--preset a800-owned --sensitivity --uncertain pue": "--uncertain",
        "--preset a800-owned --sensitivity --uncertain pue=.9:1": "--uncertain",
        "--preset a800-owned --sensitivity --uncertain pue=1:2 --uncertain pue=1:3": "--uncertain",
        "--preset a800-owned --sensitivity --uncertain prize=1:2": "--uncertain",
        "--preset a800-owned --sensitivity --output-tok-s 0": "--output-tok-s",
        "--preset a800-owned --sensitivity --versus-usd-per-1m 1": "--output-tok-s",
        "--prices no-such.toml --preset l4": "no-such.toml",
        "--preset l4 --as-of soon": "--as-of",
    },
    "plan": {
        PLAN: "flags",
        f"{ASKED} --users 5": "flags",
        f"{ASKED} --tokens-per-month 6e9": "demand",
        f"{ASKED} --batch --peak-factor 3": "flags",
        f"{ASKED} --growth 0.5": "flags",
        f"{ASKED} --max-replicas 2": "flags",
        f"{PLAN} --requests-per-day -1 --peak-factor 0.5 --target-utilization 0 --cache-hit-rate 1.2": "flags",
        f"{ASKED} --concurrency 256": "--concurrency",
        f"{ASKED} --api article/gpt4": "api",
        f"{ASKED} --as-of tomorrow": "--as-of",
        f"{ASKED} --api genai:no/model": "api",
        f"{PLAN} --demand-csv no-such.csv": "no-such.csv",
        f"{PLAN} --demand-csv no-such.csv --peak-factor 2": "flags",
        "--levels-csv paper_table4.csv --requests-per-day 9 --usd-per-hour 1": "--model",
        "--requests-per-day 9": "candidates",
        f"{ASKED} --cached-ratio nan": "--cached-ratio",
        "--requests-per-day 9 --api article/gpt-4 --usd-per-hour 1": "--usd-per-hour",
        "demo --requests-per-day 9 --usd-per-hour 1 --model m": "--model",
        "--requests-per-day 9 --api article/gpt-4": "article/gpt-4",
        "--config no-such.toml": "no-such.toml",
        "--config no-such.toml --batch": "config",
    },
    "memory": {
        SHAPE: "flags",
        f"{SHAPE} --context -1 --concurrency 0": "flags",
        f"{SHAPE} --context 1e-320 --concurrency x": USAGE,
        f"{FIT} --precision fp17": "flags",
        f"{FIT} --kv-precision int3 --memory-share 2 --activation-gb -1 --gpu-memory-gb nan": "flags",
        f"{FIT} --params-b -7 --layers 0 --kv-heads 0": "flags",
    },
    "gate": {
        f"{AGAINST} --max-regression tttf=5%": "--max-regression",
        f"{AGAINST} --max-regression ttft=5": "--max-regression",
        f"{AGAINST} --max-regression ttft=nan": "--max-regression",
        f"{AGAINST} --max-regression ,": "--max-regression",
        f"{AGAINST} --max-regression ttft=5%,ttft_mean=4%": "--max-regression",
        f"{AGAINST} --allow weather": "--allow",
        f"{AGAINST} --allow mashine": "--allow",
        "repeated --levels 16": "repeated",
    },
    "sweep": {
        "": "flags",
        "unknown-key.toml": "unknown-key.toml",
        f"{URL} --slo ttft<1": "flags",
        f"{URL} --slo tftt_p95<1s": "flags",
        f"{URL} --concurrency 0": "flags",
        f"{URL} --concurrency 8,x": USAGE,
        f"{URL} --concurrency 8,8": "flags",
        f"{URL} --requests 0": "flags",
        f"{URL} --profile olama": "flags",
        f"{URL} --usd-per-hour 1 --preset x": "flags",
        f"{URL} --preset h10-low": "preset",
        f"{URL} --nonsense": USAGE,
        f"{URL} --concurrency 4,16 --requests 8": "concurrency",
        f"{URL} --workload broken.jsonl": "broken.jsonl:2",
    },
    "report": {
        "": None,
        "no-such-folder": "no-such-folder",
        "demo demo": None,
        "demo --scores paper_scores.csv": USAGE,
        "demo --slo tftt<1s": "--slo",
        "demo --format vllm --slo ttft<1s": USAGE,
        f"{PAPER} --format vllm": USAGE,
        f"{PAPER} --format json": USAGE,
        f"{PAPER} --format otel": USAGE,
        "demo --format mlflow --open": USAGE,
        "demo demo --format vllm": USAGE,
        "demo --format csv --scores paper_scores.csv": USAGE,
        "demo --format xml": USAGE,
    },
    "init": {"--base-url nonsense": "--base-url"},
    "workload": {"descibe": USAGE, "make nothing": USAGE, "describe no-such.jsonl": "no-such.jsonl"},
    "serve": {"vlm": USAGE},
}


@pytest.fixture
def place(in_stored: Path) -> Path:
    """Beside the stored runs some that cannot be judged, and files with a mistake."""
    manifest = (in_stored / "demo" / "manifest.json").read_text("utf-8")
    (in_stored / "no-rows").mkdir(exist_ok=True)
    (in_stored / "no-rows" / "manifest.json").write_text(manifest)
    (in_stored / "none-whole").mkdir(exist_ok=True)
    (in_stored / "none-whole" / "manifest.json").write_text(manifest.replace('"complete"', '"stopped"'))
    (in_stored / "none-whole" / "requests.parquet").write_bytes((in_stored / "demo/requests.parquet").read_bytes())
    (in_stored / "two-sizes.csv").write_text(
        "model,concurrency,requests,time_s,ttft_s,output_tokens\na,8,2993,100,.1,40000\nb,8,100,10,.1,4000\n"
    )
    (in_stored / "unknown-key.toml").write_text('[server]\nbase_url = "http://127.0.0.1:9"\n[load]\nconcurency = [1]\n')
    (in_stored / "broken.jsonl").write_text('{"prompt": "a"}\n{oops\n')
    return in_stored


@pytest.mark.parametrize("verb", REFUSED)
def test_refused(cli: CommandLine, place: Path, snapshot: SnapshotAssertion, verb: str) -> None:
    """Bad input is exit code 2, with nothing on stdout, nothing written, and the error knows what is to blame."""
    there = set(place.iterdir())
    ended = {flags: cli(verb, flags) for flags in REFUSED[verb]}
    assert set(place.iterdir()) == there
    assert {(one.code, one.out) for one in ended.values()} == {(2, "")}
    assert {flags: getattr(one.error, "where", USAGE) for flags, one in ended.items()} == REFUSED[verb]
    said = [f"$ benchsuite {verb} {flags}\n{_text(one.error)}" for flags, one in ended.items()]
    assert "\n\n".join(said) == snapshot


def _text(error: Exception) -> str:
    return error.format_message() if isinstance(error, click.ClickException) else str(error)
