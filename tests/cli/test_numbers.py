"""Numbers that make no sense, or that no column, timeout or memory holds, are refused by name; never a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from factory import run_folder

from benchsuite.cli.main import load_verb
from benchsuite.cli.spec_file import kinds_of
from benchsuite.errors import SpecError
from benchsuite.spec import parse_spec, spec_keys

ODD = ("nan", "inf", "-inf", "1e300", "1e-320", "1e-12", "1e15", "-1", "1" + "0" * 30, "1" + "0" * 400, "9" * 5000)
WORDS = {
    "sweep": "--base-url http://127.0.0.1:1 --gpu off --print-spec",
    "decide": "RUN",
    "gate": "RUN",
    "ab": "RUN OTHER",
    "plan": "RUN --requests-per-day 9 --usd-per-hour 1",
    "cost": "--usd-per-hour 1",
    "memory": "--params-b 1 --layers 2 --kv-heads 2 --head-dim 8 --context 9 --concurrency 1",
    "calibrate": "--concurrency none",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs."""
    path = tmp_path_factory.mktemp("runs")
    for name in ("run", "other"):
        run_folder(path / name, levels=(2,))
    return path


@pytest.mark.parametrize("verb", WORDS)
def test_no_number_is_a_traceback(verb: str, runs: Path, cli: Any) -> None:
    """Every option that is no path or choice, with each odd number: an answer or an error of ours; nan is no number."""
    words = WORDS[verb].replace("RUN", str(runs / "run")).replace("OTHER", str(runs / "other"))
    for option in load_verb(verb).params:
        if not isinstance(option, click.Option) or option.is_flag or option.type.name in ("path", "choice"):
            continue
        for value in ODD:
            ended = cli(words, (option.opts[0], value))  # raises what is no error of ours
            if isinstance(option.type, click.types.FloatParamType) and value in (*ODD[:3], "1e-320"):
                assert ended.code == 2, (option.opts[0], value)


def keys_of_numbers() -> list[tuple[str, bool]]:
    """Each key of the specification that takes a number, and whether it takes fractions."""
    found = [(name, kinds_of(info.annotation)) for name, info in spec_keys()]
    return [(name, float in kinds) for name, kinds in found if {int, float} & kinds and dict not in kinds]


@pytest.mark.parametrize(("name", "fraction"), keys_of_numbers())
def test_every_number_of_the_spec_is_bounded(name: str, fraction: bool) -> None:
    """Too large for its column, its timeout or memory, infinite, no number, or not positive where that is needed."""
    for value in (10**30, -(10**30), *((1e300, float("inf"), float("nan")) if fraction else (2**63,))):
        tree: dict[str, Any] = {"server": {"base_url": "http://h"}}
        table = tree
        for step in name.split(".")[:-1]:
            table = table.setdefault(step, {})
        table[name.split(".")[-1]] = value
        with pytest.raises(SpecError, match=name.split(".")[-1]):
            parse_spec(tree, where="test")


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("workload.max_output_tokens", 2**31 - 1), ("load.repeats", 1000), ("load.workers", 256),
        ("load.random_seed", 2**63 - 1), ("timeouts.request_s", 1e6), ("load.cooldown_max_s", 1e6),
        ("load.max_errors", 2**31 - 1), ("load.concurrency", 10**7), ("workload.requests", 10**7),
    ],
)  # fmt: skip
def test_where_the_bounds_are(name: str, most: float) -> None:
    """The greatest value is taken, the next one not."""
    table, key = name.split(".")
    parse_spec({"server": {"base_url": "http://h"}, table: {key: most}}, where="test")
    with pytest.raises(SpecError, match=key):
        parse_spec({"server": {"base_url": "http://h"}, table: {key: most + 1}}, where="test")
