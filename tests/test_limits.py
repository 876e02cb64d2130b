"""The table of limits is in the guide, and its flags exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from benchsuite.cli.main import load_verb
from benchsuite.clock import NS_PER_S
from benchsuite.limits import RESPONSE_LIMITS, TABLE, most
from benchsuite.load.virtual_users import limits_ns
from benchsuite.spec import ResponseSpec, SweepSpec
from tests.test_warning_table import options

GUIDE = Path(__file__).parents[1] / "docs" / "guide" / "reference.md"
HEAD = "| what | at most | beyond it | flag, or key of sweep.toml |\n|---|---|---|---|\n"


def test_the_guide_lists_the_table(request: pytest.FixtureRequest) -> None:
    """docs/guide/reference.md has a row for each limit, from the table; --snapshot-update writes it."""
    cells = (
        (one.bounds, f"{one.most:,} {one.unit}", one.beyond, one.flag and f"`{one.flag}`") for one in TABLE.values()
    )
    rows = "".join(f"| {' | '.join(row)} |\n" for row in cells)
    text = GUIDE.read_text()
    if request.config.getoption("update_snapshots", False):
        GUIDE.write_text(re.sub(re.escape(HEAD) + r"(\|.*\n)*", lambda _: HEAD + rows, text))
    assert HEAD + rows + "\n" in GUIDE.read_text()


@pytest.mark.parametrize("words", [
    "sweep FILE", "plan --config FILE", "import aiperf FILE --output run", "decide --levels-csv FILE",
    "cost --list-presets --prices FILE",
])  # fmt: skip
def test_a_file_without_an_end_is_refused(words: str, monkeypatch: pytest.MonkeyPatch, cli: Any) -> None:
    """No more of it is read than the table says."""
    monkeypatch.setitem(TABLE, "file_bytes", TABLE["file_bytes"]._replace(most=1000))
    ended = cli(words.replace("FILE", "/dev/zero"))
    assert (ended.code, ended.error.where) == (2, "/dev/zero")


def test_the_flags_exist_and_begin_at_the_table():
    """What moves a limit is a flag or a key of the sweep; without it the spec says what the table does."""
    keys = {f"response.{name}" for name in ResponseSpec.model_fields}
    assert {limit.flag for limit in TABLE.values() if limit.flag} - options(load_verb("sweep")) == keys
    spec = SweepSpec.model_validate({"server": {"base_url": "http://h"}})
    response = spec.response
    assert spec.load.server_recovery_timeout_s == most("recovery_s")
    assert spec.timeouts.connect_s == most("connect_s")
    waits_ns = [most(name) * NS_PER_S for name in ("idle_s", "request_s", "first_token_s")]
    assert list(limits_ns(spec.timeouts)) == waits_ns
    assert response.max_mib << 20 == RESPONSE_LIMITS.response_bytes == most("response_bytes")
    assert response.held_mib << 20 == RESPONSE_LIMITS.held_bytes
    assert response.header_kib << 10 == RESPONSE_LIMITS.header_bytes
    assert response.event_mib << 20 == RESPONSE_LIMITS.event_bytes
    assert response.event_values == RESPONSE_LIMITS.event_values
