"""Request bodies: encoded once, in a file that the measuring processes read; what is sent is what was encoded."""

from __future__ import annotations

import marshal
import os
from dataclasses import replace
from multiprocessing import reduction
from pathlib import Path
from typing import Any

import pytest
from sweeps_for_tests import column, run, spec_of

from benchsuite.client.http import Endpoint
from benchsuite.client.request import BodyPlan, encode
from benchsuite.file_list import FileList
from benchsuite.load import worker
from benchsuite.load.worker import RequestBodies
from benchsuite.servers import SERVERS
from benchsuite.simulator.config import SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.workload import dataset
from benchsuite.workload.dataset import (
    Prompt,
    PromptPlaces,
    copy_numbers,
    make_workload,
    shared_prefix_ratio,
    take,
)

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


def sent_to_another_process(listed: FileList[Any], monkeypatch: pytest.MonkeyPatch) -> FileList[Any]:
    """The list as a process has it that was started with it."""
    monkeypatch.setattr(reduction, "DupFd", Passed)
    there = FileList.__new__(FileList)
    there.__setstate__(listed.__getstate__())
    return there


@pytest.mark.parametrize("most", [0, 10**9])
@pytest.mark.parametrize("bust", ["off", "field", "prompt"])
@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_what_is_sent_is_the_encoded_request(
    most: int, bust: Any, endpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it stays in the file or not, with the salt of the point wherever that goes; the file has no key."""
    monkeypatch.setattr(worker, "_MOST_IN_MEMORY", most)
    plan = BodyPlan(SERVERS["vllm"], "m", endpoint, True, True, None, bust, "unused")
    to = Endpoint(2, ("127.0.0.1", 1), "h", "h:1", "/v1/x", headers=(("Authorization", "Bearer sk-secret"),))
    bodies = RequestBodies(PROMPTS, plan)
    written, bodies.file = bodies.file, sent_to_another_process(bodies.file, monkeypatch)
    found = bodies.requests([2, 0, 1], to, lambda copy: SALT)
    assert isinstance(found, list) == (most > 0)
    assert [*found] == [encode(PROMPTS[i], replace(plan, salt=SALT), to) for i in (2, 0, 1)]
    assert [copy for copy, *_ in written] == [0, 0, 1]
    assert b"secret" not in b"".join(marshal.dumps(record) for record in written)
    written.close()
    bodies.file.close()


def test_a_large_set_is_a_list_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a size that is kept in memory nothing but memory differs: prompts, hash, copies, shared prefix, places."""
    made = [replace(p, prompt_id=f"{p.prompt_id}{i}", input_tokens=i or None) for i in range(9) for p in PROMPTS]
    small = make_workload("set", made)
    monkeypatch.setattr(dataset, "_MOST_IN_MEMORY", 3000)
    large = make_workload("set", iter(made))
    assert isinstance(small.prompts, tuple)
    assert isinstance(large.prompts, FileList)
    assert (tuple(large.prompts), large.content_hash) == (small.prompts, small.content_hash)
    assert (large.prompts[-1], large.prompts[2:4]) == (small.prompts[-1], [*small.prompts[2:4]])
    assert tuple(take(large, 40).prompts) == tuple(take(small, 40).prompts)
    for of in (copy_numbers, shared_prefix_ratio, lambda prompts: [*PromptPlaces(prompts).of(["b3", "a0"])]):
        assert of(large.prompts) == of(small.prompts)
    with pytest.raises(IndexError):
        large.prompts[len(made)]


def test_a_megabyte_a_request(tmp_path: Path) -> None:
    """Bodies larger than a socket takes at once go out whole, from two processes, without a failure."""
    made = [Prompt(f"p{i}", None, None, f"{i} " + "wordwords " * 100_000, 3) for i in range(6)]
    with simulator(SimulatorConfig()) as server:
        found = run(spec_of(server.base_url, [2], workers=2), make_workload("long", made), tmp_path / "run")[1]
    assert set(column(found, "status")) == {"ok"}
    assert set(column(found, "input_tokens")) == {100_001}
    assert sorted(column(found, "prompt_id")) == [f"p{i}" for i in range(6)]
