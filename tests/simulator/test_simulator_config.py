"""The simulator's configuration: from a file, from options, and every mistake at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from pydantic import ValidationError

from benchsuite.errors import SpecError
from benchsuite.simulator.config import Fault, LatencyModel, ResponseShape, SimulatorConfig, load_config

FILE = """
natural_output_tokens = 200
[latency]
ttft_s = 0.05
slots = 4
[response]
tokens_per_chunk = 2
[[faults]]
kind = "http_503"
probability = 0.1
"""


def test_configuration_survives_json():
    """What the parent sends is what the process reads."""
    latency, response = LatencyModel(itl_s=0.5), ResponseShape(crlf=True)
    config = SimulatorConfig(latency=latency, response=response, faults=(Fault(kind="reset"),), reject_fields=("a",))

    assert SimulatorConfig.model_validate_json(config.model_dump_json()) == config


def test_options_go_before_the_file(cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Keys of the file that no option names stay."""
    path, served = tmp_path / "simulator.toml", []
    path.write_text(FILE)
    monkeypatch.setattr("benchsuite.simulator.server.serve", lambda config, parent: served.append((config, parent)))

    code = cli("serve simulator --config", path, "--itl-s 0.01 --slots 8 --port 4321").code

    expected = SimulatorConfig(
        latency=LatencyModel(ttft_s=0.05, itl_s=0.01, slots=8),
        response=ResponseShape(tokens_per_chunk=2),
        faults=(Fault(kind="http_503", probability=0.1),),
        natural_output_tokens=200,
        port=4321,
    )
    assert (code, served) == (0, [(expected, None)])


def test_all_mistakes_at_once():
    """Each with its place, and the nearest valid key or value."""
    tree = {"latency": {"itl_ms": 5}, "respons": {}, "faults": [{"kind": "early_clos"}], "port": 70000}
    with pytest.raises(SpecError) as refused:
        load_config(None, tree)

    lines = [line.strip() for line in refused.value.what.splitlines()[1:]]
    assert [line.split(":")[0] for line in lines] == ["latency.itl_ms", "faults.0.kind", "port", "respons"]
    assert [line.split("did you mean ")[-1] for line in lines if "did you mean" in line] == [
        "'itl_s'?", "'early_close'?", "'response'?"
    ]  # fmt: skip


def test_a_file_that_is_not_there(tmp_path: Path):
    """It is refused with its path."""
    with pytest.raises(SpecError) as refused:
        load_config(tmp_path / "none.toml", {})
    assert refused.value.where == str(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "bad",
    [
        {"slots": 0}, {"itl_s": -1.0}, {"slots": 1, "prefill_tokens_per_s": 0}, {"mode": "fast"}, {"kv_tokens": 9},
        {"slots": 1, "ttft_spread_s": 0.1},
    ],
)  # fmt: skip
def test_impossible_latencies_are_refused(bad: dict[str, Any]):
    """Nothing starts with times that cannot hold, and what only an engine has needs slots."""
    with pytest.raises(ValidationError):
        LatencyModel(**bad)
