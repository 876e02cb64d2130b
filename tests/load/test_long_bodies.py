"""Request bodies: encoded once, in a file that the measuring processes map; what is sent is what one encoding gives."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sweeps_for_tests import column, run, spec_of

from benchsuite.client.http import Endpoint
from benchsuite.client.request import BodyPlan, encode
from benchsuite.load import worker_pool
from benchsuite.load.worker_pool import RequestBodies
from benchsuite.servers import SERVERS
from benchsuite.simulator.config import SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.workload.dataset import Prompt, make_workload

SALT = "0123456789ab"
PROMPTS = [
    Prompt("a", "s", ({"role": "user", "content": "é " * 9}, {"role": "user", "content": "x"}), None, 5),
    Prompt("b", None, None, "one", None),
    Prompt("c", None, None, "one", 7),
]


class Passed:
    """A file's descriptor as another process gets it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def detach(self) -> int:
        return os.dup(self._fd)


def mapped(bodies: RequestBodies) -> RequestBodies:
    """The bodies as a measuring process has them."""
    there = RequestBodies.__new__(RequestBodies)
    there.__setstate__(vars(bodies) | {"_file": Passed(bodies._file.fileno())})
    return there


@pytest.mark.parametrize("most", [0, 10**9])
@pytest.mark.parametrize("bust", ["off", "field", "prompt"])
@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_what_is_sent_is_the_encoded_request(
    most: int, bust: Any, endpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it stays in the file or not, with the salt of the point wherever that goes; the file has no key."""
    monkeypatch.setattr(worker_pool, "_MOST_IN_MEMORY", most)
    plan = BodyPlan(SERVERS["vllm"], "m", endpoint, True, True, None, bust, "unused")
    to = Endpoint(2, ("127.0.0.1", 1), "h", "h:1", "/v1/x", headers=(("Authorization", "Bearer sk-secret"),))
    written = RequestBodies(PROMPTS, plan)
    bodies = mapped(written)
    for i, prompt in enumerate(PROMPTS):
        found, expected = bodies.request(i, to, SALT), encode(prompt, replace(plan, salt=SALT), to)
        assert found.message() == expected.wire
        assert bool(found.rest) == (most == 0)
        assert replace(found, wire=b"", rest=()) == replace(expected, wire=b"")
    assert bodies.copies == [0, 0, 1]
    written._file.seek(0)
    assert b"secret" not in written._file.read()
    written.close()


def test_a_megabyte_a_request(tmp_path: Path) -> None:
    """Bodies larger than a socket takes at once go out whole, from two processes, without a failure."""
    made = [Prompt(f"p{i}", None, None, f"{i} " + "wordwords " * 100_000, 3) for i in range(6)]
    with simulator(SimulatorConfig()) as server:
        found = run(spec_of(server.base_url, [2], workers=2), make_workload("long", made), tmp_path / "run")[1]
    assert set(column(found, "status")) == {"ok"}
    assert set(column(found, "input_tokens")) == {100_001}
    assert sorted(column(found, "prompt_id")) == [f"p{i}" for i in range(6)]
