"""The smoke runs' checks: a sound run passes, and each thing that can be wrong is seen."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from smoke import smi
from smoke.checks import Expected, RunFiles, check_run, our_tokens, server_tokens

GPU = "GPU-0000000000"
ASKED = Expected("vllm", (1, 2), requests=2, repeats=1, max_output_tokens=4, gpu=True, quiet=True)


def sound_run() -> RunFiles:
    """Two levels of two requests, 10 s, a GPU at 1 Hz and a server at 1 Hz."""
    rows = [
        {
            "concurrency": level,
            "prompt_id": f"p{i}",
            "status": "ok",
            "error": None,
            "token_source": "usage",
            "output_tokens": 4,
            "asked_output_tokens": 4,
        }
        for level in (1, 2)
        for i in (0, 1)
    ]
    energy = {"gross_j": 80.0, "j_per_output_token": 10.0, "method": "counter", "codes": []}
    points = [
        {"concurrency": level, "n_ok": 2, "n_failed": 0, "output_tokens": 8, "energy": deepcopy(energy), "warnings": []}
        for level in (1, 2)
    ]
    manifest = {
        "status": "complete",
        "server_probe": {"profile": "vllm", "output_tokens": 24},
        "points": [
            {"started_s": 0.0, "ended_s": 5.0, "warmup": {"output_tokens": 6}},
            {"started_s": 5.0, "ended_s": 10.0, "warmup": {"output_tokens": 6}},
        ],
        "telemetry": {"gpu": {"used": [GPU], "period_s": 1.0}, "server": [{"period_s": 1.0}], "problems": []},
    }
    server = [{"at_s": float(i), "error": None, "generated_tokens": 52.0 * i / 10} for i in range(11)]
    gpu = [{"at_s": float(i), "uuid": GPU} for i in range(11)]
    return RunFiles(manifest, {"points": points}, rows, gpu, server)


def wrong(run: RunFiles, asked: Expected = ASKED) -> list[str]:
    """What is wrong with the run."""
    return [check.what for check in check_run(run, asked) if check.state == "WRONG"]


def test_a_sound_run_passes() -> None:
    """Nothing is wrong, and the tokens add up: 16 measured, 12 of the warm-up, 24 of the preflight."""
    run = sound_run()

    assert wrong(run) == []
    assert (our_tokens(run), server_tokens(run)) == (52, 52)


def change_row(run: RunFiles, **values: Any) -> None:
    run.rows[0].update(values)


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        ({"status": "timeout", "error": "30 s"}, ["rows that are not ok"]),
        ({"token_source": "chunks"}, ["rows without the server's token count"]),
        (
            {"output_tokens": 3},
            ["answers shorter or longer than asked", "c=1 tokens in summary", "tokens ours = the server's"],
        ),
        (
            {"asked_output_tokens": 5},
            ["answers shorter or longer than asked", "rows that asked for too much or nothing"],
        ),
        ({"prompt_id": "p1"}, ["c=1 distinct prompts"]),
        ({"concurrency": 2}, ["c=1 rows", "c=1 distinct prompts", "c=2 rows", "c=1 tokens in summary",
                              "c=2 tokens in summary"]),
    ],
)  # fmt: skip
def test_a_row_that_is_wrong_is_seen(values: dict[str, Any], seen: list[str]) -> None:
    """One row of four: failed, uncounted, of another length, a prompt twice, another level."""
    run = sound_run()
    change_row(run, **values)

    assert wrong(run) == seen


@pytest.mark.parametrize(
    ("theirs", "state"), [(1000, "ok"), (995, "note"), (994, "WRONG"), (1001, "WRONG"), (None, "note")]
)
def test_tokens_are_the_servers_to_the_token(theirs: int | None, state: str) -> None:
    """Of 1,000: 5 that the server has not counted yet are told; 6, or one that we missed, are wrong."""
    run = sound_run()
    run.manifest["server_probe"]["output_tokens"] = 1000 - 28
    run.server[-1]["generated_tokens"] = theirs
    for row in run.server[:-1]:
        row["generated_tokens"] = None if theirs is None else 0.0
    (check,) = [check for check in check_run(run, ASKED) if check.what == "tokens ours = the server's"]

    assert check.state == state


def test_lost_rows_and_another_server_are_seen() -> None:
    """A row less, a run that was cut short, a profile that was not found out."""
    run = sound_run()
    run.rows.pop()
    run.manifest["status"] = "interrupted"
    run.manifest["server_probe"]["profile"] = "openai"

    assert wrong(run)[:3] == ["run status", "profile found out", "rows"]


def test_few_gpu_samples_are_seen() -> None:
    """8 of the 10 that 10 s at 1 Hz ask for pass, 7 do not; none at all says why."""
    run = sound_run()

    assert wrong(replace(run, gpu=run.gpu[:8])) == []
    assert wrong(replace(run, gpu=run.gpu[:7])) == ["gpu.parquet rows of GPU-00000000"]
    run.manifest["telemetry"]["problems"] = ["no NVML here"]
    (none,) = [check for check in check_run(replace(run, gpu=None), ASKED) if check.state == "WRONG"]
    assert none.line == "WRONG  gpu.parquet: no rows: no NVML here"


@pytest.mark.parametrize(
    "energy", [None, {"gross_j": None, "codes": []}, {"gross_j": 0.0, "j_per_output_token": 0.0},
               {"gross_j": 80.0, "j_per_output_token": 20000.0}],
)  # fmt: skip
def test_energy_that_cannot_be_is_seen(energy: dict[str, Any] | None) -> None:
    """Unknown, zero, and more joules per token than any machine spends."""
    run = sound_run()
    run.summary["points"][0]["energy"] = energy and {"method": "counter", "codes": []} | energy

    assert wrong(run) == ["c=1 energy"]


def test_a_silent_metrics_page_is_wrong_only_where_there_is_one() -> None:
    """vLLM has a page; transformers has none, so that its tokens are not compared and nothing is wrong."""
    run = replace(sound_run(), server=[{"at_s": 1.0, "error": "404", "generated_tokens": None}])
    other = deepcopy(run)
    other.manifest["server_probe"]["profile"] = "transformers"

    assert wrong(run) == ["server.parquet"]
    assert wrong(other, replace(ASKED, profile="transformers")) == []


def test_a_busy_client_is_wrong_only_on_cores_of_its_own() -> None:
    """client_bound fails a GPU run; on the CPU, where the server takes the cores, it is told."""
    run = sound_run()
    run.summary["points"][1]["warnings"] = [{"code": "client_bound"}]

    assert wrong(run) == ["c=2 client"]
    assert wrong(run, replace(ASKED, quiet=False)) == []


CSV = """\
Failed to read something
2026/11/21 14:00:30.500, GPU-a, 80, 300.00, 1024
2026/11/21 14:00:31.500, GPU-a, 90, 320.00, [N/A]
2026/11/21 14:00:32.500, GPU-b, [N/A], [N/A], 1024
2026/11/21 14:0"""


def test_nvidia_smi_is_read(tmp_path: Any) -> None:
    """Percent, W and MiB become ratio, W and bytes; [N/A] is None; messages and a line cut off are left out."""
    path = tmp_path / "smi.csv"
    path.write_text(CSV, "utf-8")
    rows = smi.read(path)

    assert [row["uuid"] for row in rows] == ["GPU-a", "GPU-a", "GPU-b"]
    assert [row["util_ratio"] for row in rows] == [0.8, pytest.approx(0.9), None]
    assert [row["power_w"] for row in rows] == [300.0, 320.0, None]
    assert [row["memory_used_bytes"] for row in rows] == [2**30, None, 2**30]
    assert rows[1]["wall_s"] - rows[0]["wall_s"] == 1.0


def samples(power_w: float, n: int = 11) -> list[dict[str, Any]]:
    """One a second from 0 s."""
    return [
        {"wall_s": float(i), "uuid": GPU, "power_w": power_w, "util_ratio": 0.9, "memory_used_bytes": None}
        for i in range(n)
    ]


@pytest.mark.parametrize(
    ("ours", "theirs", "states"),
    [
        (samples(300), samples(290), ["ok", "ok", "note", "ok"]),
        (samples(330), samples(290), ["ok", "WRONG", "note", "ok"]),
        (samples(300, 7), samples(300), ["WRONG", "ok", "note", "ok"]),
        (samples(300), [], ["WRONG", "note", "note", "note"]),
    ],
)
def test_the_sampler_is_compared_with_nvidia_smi(
    ours: list[dict[str, Any]], theirs: list[dict[str, Any]], states: list[str]
) -> None:
    """Samples, power, memory, utilisation of 10 s: 3 % apart passes, 14 % does not; too few, and no witness."""
    found = list(smi.compare(ours, theirs, [GPU], 1.0, (0.0, 10.0)))

    assert [check.state for check in found] == states
