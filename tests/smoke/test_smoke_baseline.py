"""The smoke runs' baselines: what is kept, what is worse, what is not compared."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from smoke import baseline
from smoke.checks import RunFiles

POINT = {
    "concurrency": 8,
    "usd_per_1m_output_tokens": 4.0,
    "output_tok_s": 600.0,
    "ttft_s": {"mean": 0.2},
    "energy": {"j_per_output_token": 0.5},
}
RUN = RunFiles(
    manifest={
        "created": "2026-11-21",
        "launched_server": {"version": "vllm 0.32.0"},
        "spec": {
            "workload": {"requests": 64, "max_output_tokens": 64, "source": "wineval", "save_text": False},
            "load": {"repeats": 1},
        },
    },
    summary={"points": [POINT]},
    rows=[],
    gpu=None,
    server=None,
)
FIGURES = baseline.figures_of(RUN, "NVIDIA H100 80GB HBM3")


def test_figures_of_a_run() -> None:
    """Cost, rate, TTFT and energy of each level, and what they are of."""
    assert FIGURES == {
        "hardware": "NVIDIA H100 80GB HBM3",
        "version": "vllm 0.32.0",
        "made": "2026-11-21",
        "set": {"requests": 64, "max_output_tokens": 64, "source": "wineval", "repeats": 1},
        "levels": {
            "8": {
                "usd_per_1m_output_tokens": 4.0,
                "output_tok_s": 600.0,
                "ttft_mean_s": 0.2,
                "j_per_output_token": 0.5,
            }
        },
    }


def test_kept_by_gpu_and_server(tmp_path: Path) -> None:
    """One file a GPU; a server's figures replace its own and leave the others'."""
    assert baseline.read(tmp_path, "NVIDIA H100 80GB HBM3", "vllm") is None
    path = baseline.write(tmp_path, "vllm", FIGURES)
    baseline.write(tmp_path, "transformers", FIGURES | {"version": "transformers 5.23.0"})
    baseline.write(tmp_path, "vllm", FIGURES | {"made": "2026-11-22"})

    assert path.name == "nvidia-h100-80gb-hbm3.json"
    assert baseline.read(tmp_path, "NVIDIA H100 80GB HBM3", "vllm") == FIGURES | {"made": "2026-11-22"}
    assert baseline.read(tmp_path, "NVIDIA H100 80GB HBM3", "transformers")["version"] == "transformers 5.23.0"
    assert baseline.read(tmp_path, "NVIDIA H200", "vllm") is None


def now(**values: Any) -> dict[str, Any]:
    """The figures with some of level 8 changed."""
    found = deepcopy(FIGURES)
    found["levels"]["8"] |= values
    return found


@pytest.mark.parametrize(
    ("values", "states"),
    [
        ({}, ["ok", "ok", "ok", "ok", "ok"]),
        ({"usd_per_1m_output_tokens": 5.9}, ["ok", "ok", "ok", "ok", "ok"]),
        ({"usd_per_1m_output_tokens": 6.1}, ["ok", "WRONG", "ok", "ok", "ok"]),
        ({"usd_per_1m_output_tokens": 2.5}, ["ok", "note", "ok", "ok", "ok"]),
        ({"output_tok_s": 401.0}, ["ok", "ok", "ok", "ok", "ok"]),
        ({"output_tok_s": 399.0}, ["ok", "ok", "WRONG", "ok", "ok"]),
        ({"output_tok_s": 0.0}, ["ok", "ok", "WRONG", "ok", "ok"]),
        ({"ttft_mean_s": 0.31}, ["ok", "ok", "ok", "WRONG", "ok"]),
        ({"j_per_output_token": None}, ["ok", "ok", "ok", "ok", "WRONG"]),
    ],
)
def test_worse_by_more_than_the_tolerance_is_wrong(values: dict[str, Any], states: list[str]) -> None:
    """At 0.5: a cost, a TTFT and joules above 1.5 times, a rate below two thirds; much better is a note."""
    assert [check.state for check in baseline.compare(FIGURES, now(**values), 0.5)] == states


def test_another_request_set_is_not_compared() -> None:
    """A baseline that guards nothing must not pass."""
    other = deepcopy(FIGURES)
    other["set"]["requests"] = 32
    (check,) = baseline.compare(FIGURES, other, 0.5)

    assert check.state == "WRONG"


def test_a_level_that_was_not_measured_is_told() -> None:
    """Fewer levels than the baseline has: a note for each, nothing else."""
    other = FIGURES | {"levels": {}}

    assert [check.state for check in baseline.compare(FIGURES, other, 0.5)] == ["ok", "note"]
