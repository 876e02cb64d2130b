"""Workloads from files and to files."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchsuite.errors import InputError, WorkloadError
from benchsuite.input_files import read_workload, write_workload
from benchsuite.request_spec import WorkloadSpec
from benchsuite.workload.dataset import Prompt, Workload, make_workload

COMMITTED = Path(__file__).parents[1] / "workloads" / "wineval-64.jsonl"


def read(source: str | Path, requests: int | None = None) -> Workload:
    """The workload of a spec that names this source."""
    return read_workload(WorkloadSpec(source=str(source), requests=requests), 0)


def test_committed_set_is_reproducible(tmp_path: Path) -> None:
    """Making the committed set again gives the same bytes, and reading them the same workload."""
    write_workload(read("wineval", 64), str(tmp_path / "again.jsonl"))

    assert COMMITTED.read_bytes() == (tmp_path / "again.jsonl").read_bytes()
    assert read(COMMITTED) == read("wineval", 64)


def test_wineval_is_whole_by_default() -> None:
    """Without a number, wineval is the paper's 2,993 requests."""
    assert len(read("wineval").prompts) == 2993


def test_requests_of_a_file() -> None:
    """A file gives its first requests, or starts again when more are asked for."""
    assert [p.prompt_id for p in read(COMMITTED, 2).prompts] == [
        "wineval-00001",
        "wineval-00002",
    ]
    assert read(COMMITTED, 65).prompts[64].prompt_id == "wineval-00001#2"


def test_odd_text_survives(tmp_path: Path) -> None:
    """A byte order mark is skipped, and the line separators of Unicode do not end a line."""
    file = tmp_path / "odd.jsonl"
    workload = make_workload("odd", [Prompt("a", None, None, "one\u2028two\x85three", None)])
    write_workload(workload, str(file))
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())

    assert workload == read(file)


def test_missing_file() -> None:
    """A missing file is named, with the way to make one."""
    with pytest.raises(WorkloadError, match="does not exist") as caught:
        read("nowhere.jsonl")

    assert caught.value.where == "nowhere.jsonl"
    assert caught.value.hint.endswith("benchsuite workload make wineval --output FILE")


def test_undecodable_file(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are named with their line."""
    file = tmp_path / "latin.jsonl"
    file.write_bytes(b'{"prompt": "a"}\n{"prompt": "\xe9"}\n')

    with pytest.raises(WorkloadError, match="not UTF-8") as caught:
        read(file)

    assert caught.value.where == f"{file}:2"
    assert caught.value.given == "byte 0xe9 at offset 28"


def test_folder_is_no_file(tmp_path: Path) -> None:
    """A folder in the place of a file is an error with its path."""
    with pytest.raises(WorkloadError, match="cannot be read"):
        read(tmp_path)
    with pytest.raises(InputError, match="cannot be written"):
        write_workload(make_workload("a", []), str(tmp_path), force=True)


def test_no_overwriting(tmp_path: Path) -> None:
    """A file is only written over when forced."""
    file = tmp_path / "set.jsonl"
    file.write_text("mine")
    workload = make_workload("a", [Prompt("a", None, None, "hi", None)])

    with pytest.raises(WorkloadError, match="already exists"):
        write_workload(workload, str(file))
    assert file.read_text() == "mine"
    write_workload(workload, str(file), force=True)
    assert file.read_text() == '{"id": "a", "prompt": "hi"}\n'
