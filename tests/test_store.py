"""The run folder: what was flushed is never lost, what was measured is never overwritten."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import struct
import tempfile
import zlib
from array import array
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factory import request_row
from factory import run_folder as run_folder_of

from benchsuite.errors import InputError, PointsError, StoreError
from benchsuite.limits import most
from benchsuite.load.launched_sweep import served_plan
from benchsuite.load.matrix import MATRIX, read_plan
from benchsuite.records import SCHEMA_VERSION, GpuSample, RequestRecord
from benchsuite.spec import parse_spec
from benchsuite.store import files, journal, run_folder
from benchsuite.store.files import (
    GPU,
    MANIFEST,
    SAMPLE_SCHEMAS,
    SCHEMA,
    at_schema,
    parquet_tables,
    write_json,
    write_output,
    write_parquet,
)
from benchsuite.store.journal import Journal, SampleLog, read_journal, wait_for_writers
from benchsuite.store.run_folder import RunFolder, read_manifest, read_run, recover

ROOT = Path(__file__).parents[1]


def row(i: int = 0, **changes: object) -> RequestRecord:
    """Row i, with three chunks."""
    names = {"point_id": "c0008-r0", "concurrency": 8, "request_id": f"c0008-r0-{i:05d}", "prompt_id": f"p{i}"}
    gaps = {"chunk_gap_us": array("i", [1000, 1000])}
    return request_row(float(i), 0.003, **names | gaps | changes)


UNKNOWN = ("sent_s", "input_tokens", "output_tokens", "token_source", "finish_reason", "http_status")
FAILED = row(7)._replace(
    **dict.fromkeys((*UNKNOWN, "first_token_s", "first_answer_s", "last_token_s", "closed_s")),
    **{"chunk_gap_us": array("i"), "n_chunks": 0, "status": "connect_error", "error": "refused 拒绝"},
)


def journal_of(path, *batches):
    """A closed journal whose batches hold these rows."""
    journal = Journal(path)
    for batch in batches:
        for each in batch:
            journal.append(each)
        journal.flush()
    journal.close()


def records(path: Path, *payloads: bytes | pa.Buffer) -> None:
    """A journal of these records, each with a head and checksums that hold."""
    with path.open("wb") as file:
        for payload in map(bytes, payloads):
            head = struct.pack("<4sII", b"BSJ1", len(payload), zlib.crc32(payload))
            file.write(head + struct.pack("<I", zlib.crc32(head)) + payload)


def as_rows(table: pa.Table) -> list[RequestRecord]:
    """A table's rows as they were appended."""
    rows = [RequestRecord(**values) for values in table.to_pylist()]
    return [each._replace(chunk_gap_us=array("i", each.chunk_gap_us)) for each in rows]


def ids(table: pa.Table) -> list[str]:
    return table["prompt_id"].to_pylist()


# the schema
def test_schema_is_the_record():
    """The columns are RequestRecord's fields, in its order, with these types."""
    expected = {
        "string": "run_id point_id request_id prompt_id scenario token_source stamp_source finish_reason status error "
        "response_id text endpoint notes",
        "double": "scheduled_s sent_s headers_s first_token_s first_answer_s last_token_s closed_s "
        "server_queue_s server_prefill_s server_decode_s rate_per_s window_start_s window_end_s",
        "int32": "concurrency repeat worker input_tokens cached_tokens output_tokens reasoning_tokens "
        "asked_output_tokens n_chunks n_empty_chunks n_reads merged_reads read_lag_max_us stale_retries http_status "
        "attempt",
        "list<item: int32>": "chunk_gap_us",
        "bool": "connection_reused",
    }
    types = {name: str(SCHEMA.field(name).type) for name in SCHEMA.names}
    assert types == {name: kind for kind, names in expected.items() for name in names.split()}
    assert tuple(SCHEMA.names) == RequestRecord._fields
    assert SCHEMA.metadata == {b"benchsuite.schema": str(SCHEMA_VERSION).encode()}


def test_parquet_keeps_schema_and_rows(tmp_path):
    """A Parquet file holds the very rows, types and schema version that were given to it."""
    journal_of(tmp_path / "j", [row(0), FAILED])
    table = read_journal(tmp_path / "j")
    write_parquet(tmp_path / "t.parquet", table)
    back = pq.read_table(tmp_path / "t.parquet")
    assert back.schema.equals(SCHEMA, check_metadata=False)
    assert back.schema.metadata[b"benchsuite.schema"] == str(SCHEMA_VERSION).encode()
    assert as_rows(back) == [row(0), FAILED]
    assert [f.name for f in tmp_path.iterdir() if f.name.startswith(".")] == []


# journals
def test_journal_round_trip(tmp_path):
    """Rows come back as they were appended, over any number of batches, empty ones too."""
    rows = [row(0), FAILED, row(1, text="a\u2028b\U0001f600", chunk_gap_us=array("i", [-5, 2**31 - 1]))]
    journal_of(tmp_path / "j", rows[:2], [], rows[2:])
    assert as_rows(read_journal(tmp_path / "j")) == rows


def test_flush_when_due(tmp_path):
    """20 rows wait no longer than 10 ms, fewer no longer than 250 ms, none writes nothing."""
    journal = Journal(tmp_path / "j")

    def written() -> int:
        return read_journal(tmp_path / "j").num_rows

    journal.flush_if_due(10**12)
    journal.append(row(0))
    journal.flush_if_due(10**12)
    assert written() == 1
    journal.append(row(1))
    journal.flush_if_due(10**12 + 250_000_000)
    assert written() == 1
    journal.flush_if_due(10**12 + 250_000_001)
    assert written() == 2
    for i in range(20):
        journal.append(row(i))
    journal.flush_if_due(10**12 + 260_000_001)
    assert written() == 2
    journal.flush_if_due(10**12 + 260_000_002)
    assert written() == 22
    journal.close()


def test_a_torn_journal_keeps_its_whole_batches(tmp_path):
    """Cut anywhere, a journal gives back every batch that is whole, and nothing else."""
    path = tmp_path / "j"
    journal = Journal(path)
    sizes = []
    for i in range(3):
        journal.append(row(2 * i))
        journal.append(row(2 * i + 1))
        journal.flush()
        sizes.append(path.stat().st_size)
    content = path.read_bytes()
    journal.close()
    torn = tmp_path / "torn"
    borders = [max(0, size + by) for size in (0, *sizes) for by in (-9, -8, -1, 0, 1, 8)]
    for cut in [*borders, *random.Random(11).choices(range(len(content)), k=100)]:
        torn.write_bytes(content[:cut])
        whole = sum(size <= cut for size in sizes)
        assert ids(read_journal(torn)) == [f"p{i}" for i in range(2 * whole)], cut


def test_a_journal_with_a_hole_behind_it(tmp_path):
    """Zeros or noise behind the last batch, as a crashed file system leaves them, lose no whole batch."""
    journal = Journal(tmp_path / "j")
    journal.append(row(0))
    journal.flush()
    content = (tmp_path / "j").read_bytes()
    journal.close()
    for noise in (bytes(512), b"\xff" * 512, b"\xff\xff\xff\xff\x10\x00\x00\x00" + bytes(100), b"hello" * 99):
        (tmp_path / "torn").write_bytes(content + noise)
        assert ids(read_journal(tmp_path / "torn")) == ["p0"]


def test_a_flipped_bit_ends_a_journal_there(tmp_path):
    """Wherever a bit is flipped, heads included, the rows before it are kept, no others, and the record is named."""
    path, flipped, rows = tmp_path / "j", tmp_path / "flipped", [row(i) for i in range(6)]
    journal_of(path, rows[:2], rows[2:4], rows[4:])
    content, rng = path.read_bytes(), random.Random(4)
    ends = [0]
    while ends[-1] < len(content):
        ends.append(ends[-1] + 16 + int.from_bytes(content[ends[-1] + 4 : ends[-1] + 8], "little"))
    heads = [end + i for end in ends[:-1] for i in range(16)]
    for at in [*heads, *rng.choices(range(len(content)), k=200)]:
        damaged, record = bytearray(content), sum(end <= at for end in ends)
        damaged[at] ^= 1 << rng.randrange(8)
        flipped.write_bytes(damaged)
        damage: dict[Path, str] = {}
        assert as_rows(read_journal(flipped, SCHEMA, damage)) == rows[: 2 * max(0, record - 2)], at
        assert f"flipped: record {record}, " in damage[flipped]


def test_a_forged_checksum_meets_a_second_check(tmp_path):
    """Bytes that were made to have a right checksum end the journal too, or give rows that are whole."""
    journal_of(tmp_path / "j", [row(0)], [row(1)])
    content, rng = (tmp_path / "j").read_bytes(), random.Random(5)
    payloads, at = [], 0
    while at < len(content):
        payloads.append(content[at + 16 : (at := at + 16 + int.from_bytes(content[at + 4 : at + 8], "little"))])
    odd = pa.schema([("x", pa.dictionary(pa.int8(), pa.string()))])
    wrong = pa.schema([("sent_s", pa.string())])
    forged = [[odd.serialize()], [wrong.serialize()], [b""], [b"\xff" * 8], [payloads[1]], [payloads[0]] * 2]
    for _ in range(200):
        bent = [bytearray(payload) for payload in payloads]
        part = rng.choice(bent)
        part[rng.randrange(len(part))] = rng.randrange(256)
        forged.append(bent)
    for each in forged:
        records(tmp_path / "forged", *each)
        read_journal(tmp_path / "forged").to_pylist()


def test_a_damaged_journal_is_put_aside(tmp_path):
    """Recovering keeps the rows before the damage and the file itself, and the run tells it from then on."""
    folder = RunFolder(tmp_path)
    folder.write_manifest(manifest(points=[{"point_id": "c0008-r0", "status": "running"}]))
    path = folder.journal_path("c0008-r0", 0)
    journal_of(path, [row(0)], [row(1)])
    content = bytearray(path.read_bytes())
    content[-20] ^= 4
    path.write_bytes(content)
    folder.release()
    assert (ids(read_run(tmp_path).table), len(read_run(tmp_path).damage)) == (["p0"], 1)
    assert ids(recover(tmp_path).table) == ["p0"]
    assert read_run(tmp_path).damage == ("c0008-r0.w0.arrows.torn was moved aside, damaged",)
    assert (tmp_path / "c0008-r0.w0.arrows.torn").read_bytes() == content


def test_damage_in_a_measured_point_is_refused(tmp_path):
    """Rows that a complete point has lost are never passed over: its figures would be of the rest."""
    folder = RunFolder(tmp_path)
    path = folder.journal_path("c0008-r0", 0)
    journal_of(path, [row(0)], [row(1)])
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    folder.write_manifest(manifest(points=[{"point_id": "c0008-r0", "status": "complete"}]))
    with pytest.raises(PointsError) as refused:
        read_run(tmp_path)
    assert refused.value.what == "rows of a measured point are damaged"


def test_a_flipped_bit_in_parquet_is_refused(tmp_path):
    """Wherever a bit of a Parquet file of ours is flipped, it is refused by name, or its rows are the same."""
    journal_of(tmp_path / "j", [row(i) for i in range(6)])
    path, rng = tmp_path / "t.parquet", random.Random(6)
    write_parquet(path, read_journal(tmp_path / "j"))
    content, refused = path.read_bytes(), []
    for at in [*range(len(content) - 24, len(content)), *rng.choices(range(len(content)), k=200)]:
        damaged = bytearray(content)
        damaged[at] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            assert ids(pa.concat_tables(parquet_tables(path, SCHEMA))) == [f"p{i}" for i in range(6)]
        except OSError as error:
            refused.append(str(error))
    assert len(refused) > 200
    assert all("t.parquet" in error for error in refused)


FOREIGN = {
    "another type": pa.table({"sent_s": ["x"]}),
    "a dictionary": pa.table({"mood": pa.array(["x"]).dictionary_encode()}),
    "deep lists": pa.table({"mood": pa.array([[[[1]]]])}),
    "a column twice": pa.Table.from_arrays([pa.array([1.0])] * 2, names=["sent_s", "sent_s"]),
}


def test_a_parquet_file_of_ours_whose_checksum_is_gone_is_refused(tmp_path):
    """Damage at its mark as well does not make it another writer's; what another program wrote of its rows is read."""
    journal_of(tmp_path / "j", [row(i) for i in range(6)])
    path = tmp_path / "t.parquet"
    write_parquet(path, read_journal(tmp_path / "j"))
    pq.write_table(pq.read_table(path), tmp_path / "copy.parquet")
    damaged = bytearray(path.read_bytes())
    damaged[damaged.rindex(b"BSsum")] ^= 1
    path.write_bytes(damaged)

    with pytest.raises(OSError, match=r"t\.parquet is damaged: its checksum is gone"):
        list(parquet_tables(path, SCHEMA))
    assert ids(pa.concat_tables(parquet_tables(tmp_path / "copy.parquet", SCHEMA))) == [f"p{i}" for i in range(6)]


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_parquet_has_our_types(tmp_path, name):
    """A file that another program wrote, without our checksum, is read if its columns are of our types."""
    pq.write_table(FOREIGN[name], tmp_path / "t.parquet")
    with pytest.raises(OSError, match=r"t\.parquet cannot be read"):
        list(parquet_tables(tmp_path / "t.parquet", SCHEMA))


@pytest.mark.parametrize(
    ("column", "value"),
    [("sent_s", float("nan")), ("scheduled_s", float("inf")), ("closed_s", -1e308), ("concurrency", 2**31 - 1)],
)
def test_foreign_rows_have_values_that_can_be(tmp_path, column, value):
    """A number that nothing measures, or another level than the point's, is refused before anything counts with it."""
    folder = RunFolder(tmp_path)
    journal_of(folder.journal_path("c0008-r0", 0), [row(0)._replace(**{column: value})])
    folder.finish_point("c0008-r0")
    folder.write_manifest(manifest(points=[{"point_id": "c0008-r0", "status": "complete", "concurrency": 8}]))
    with pytest.raises(PointsError, match="the rows cannot be read") as refused:
        read_run(tmp_path)
    assert column in str(refused.value)


@pytest.mark.parametrize(
    ("table", "column", "value", "kept"),
    [
        *(("gpu", "power_w", value, None) for value in (float("nan"), float("inf"), -1e308, 1e308, -1.0, 9e14)),
        ("gpu", "util_ratio", 5.0, None), ("gpu", "util_ratio", 1.0, 1.0), ("gpu", "memory_total_bytes", 2**62, None),
        ("gpu", "n_processes", -1, None), ("gpu", "sm_clock_mhz", 2**31 - 1, None), ("gpu", "sm_clock_mhz", 1980, 1980),
        ("gpu", "temperature_c", -20.0, -20.0), ("gpu", "temperature_c", -400.0, None), ("gpu", "energy_j", 9e15, None),
        ("server", "running", float("nan"), None), ("server", "kv_cache_ratio", -0.5, None),
        ("server", "generated_tokens", 1e15, None), ("server", "generated_tokens", 1e14, 1e14),
    ],
)  # fmt: skip
def test_samples_that_nothing_measures_are_left_out(tmp_path, table, column, value, kept):
    """Each by itself, and it is said; the other readings and the run's rows count as before."""
    made = run_folder_of(tmp_path / "run", gpu=True, server=True, levels=(2,))
    path, before = made / f"{table}.parquet", getattr(read_run(made), table)
    wrong = before.to_pylist()
    wrong[1][column] = value
    pq.write_table(pa.Table.from_pylist(wrong, before.schema), path)
    found = read_run(made)
    wrong[1][column] = kept
    assert getattr(found, table).to_pylist() == wrong
    assert [f"1 of {column}" in words for words in found.damage] == [True] * (kept is None)


def test_a_whole_number_beyond_its_column_is_not_kept(tmp_path):
    """A driver's "not available" is the largest number: the sample is written without it."""
    log = SampleLog(tmp_path / "gpu.s0.samples", GPU)
    most = GpuSample(1.0, 1.0, "nvml", "u", memory_used_bytes=2**64 - 1, sm_clock_mhz=2**32 - 1, throttle_reasons=2**63)
    log.append([most, most._replace(memory_used_bytes=2**40, sm_clock_mhz=1980, throttle_reasons=4)])
    log.close()
    rows = read_journal(tmp_path / "gpu.s0.samples", SAMPLE_SCHEMAS[GPU])
    found = rows.select(["memory_used_bytes", "sm_clock_mhz", "throttle_reasons"]).to_pylist()
    assert [list(row.values()) for row in found] == [[None] * 3, [2**40, 1980, 4]]


@pytest.mark.parametrize("step", range(1, 15))
def test_a_run_is_read_while_its_points_are_put_together(tmp_path, monkeypatch, step):
    """Before whichever step of a reader the files change places, it reads again and has every row once."""
    folder = RunFolder(tmp_path)
    journal_of(folder.journal_path("c0016-r0", 0), [row(0, point_id="c0016-r0")])
    folder.finish_point("c0016-r0")
    journal_of(folder.journal_path("c0008-r0", 0), [row(1)])
    points = [{"point_id": "c0016-r0", "status": "complete"}, {"point_id": "c0008-r0", "status": "running"}]
    folder.write_manifest(manifest(points=points))
    calls = 0

    def before(function):
        def call(*values):
            nonlocal calls
            calls += 1
            if calls == step:
                folder.finish_point("c0008-r0")
                folder.finish()
            return function(*values)

        return call

    steps = [(run_folder, "files_in"), (files, "open_regular"), (journal, "open_regular")]
    for module, name in steps:
        monkeypatch.setattr(module, name, before(getattr(module, name)))
    assert sorted(ids(read_run(tmp_path).table)) == ["p0", "p1"]
    assert calls >= min(step, 8)


def test_a_journal_is_never_overwritten(tmp_path):
    """A journal that exists is refused."""
    journal_of(tmp_path / "j", [row(0)])
    with pytest.raises(StoreError) as refused:
        Journal(tmp_path / "j")
    assert refused.value.where == str(tmp_path / "j")
    assert ids(read_journal(tmp_path / "j")) == ["p0"]


# the folder
def manifest(status: str = "running", **more: object) -> dict:
    return {"schema": SCHEMA_VERSION, "status": status, **more}


def test_points_and_run(tmp_path):
    """Journals become the point's file, sorted by schedule, and the points' files become requests.parquet."""
    folder = RunFolder(tmp_path / "run")
    folder.write_manifest(manifest())
    journal_of(folder.journal_path("c0008-r0", 0), [row(2), row(0)])
    journal_of(folder.journal_path("c0008-r0", 1), [row(1)])
    assert folder.finish_point("c0008-r0") == 3
    assert ids(at_schema(SCHEMA, folder.point_rows("c0008-r0", 0))) == ["p0", "p1", "p2"]
    assert sorted(p.name for p in (tmp_path / "run" / "journal").iterdir()) == []
    journal_of(folder.journal_path("c0016-r0", 0), [row(3)])
    folder.finish_point("c0016-r0")
    assert ids(read_run(tmp_path / "run").table) == ["p0", "p1", "p2", "p3"]
    folder.finish()
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["manifest.json", "requests.parquet"]
    run = read_run(tmp_path / "run")
    assert (ids(run.table), run.manifest["status"]) == (["p0", "p1", "p2", "p3"], "running")
    assert run.table.schema.names == list(RequestRecord._fields)


def test_a_point_without_rows(tmp_path):
    """A point that gave no row is an empty table, not an error."""
    folder = RunFolder(tmp_path / "run")
    assert folder.finish_point("c0008-r0") == 0
    folder.finish()
    folder.write_manifest(manifest())
    assert read_run(tmp_path / "run").table.schema.names == list(RequestRecord._fields)


def test_point_names_do_not_run_into_each_other(tmp_path):
    """Point c0001-r1 takes its own journals, not those of c0001-r10."""
    folder = RunFolder(tmp_path / "run")
    journal_of(folder.journal_path("c0001-r1", 0), [row(0)])
    journal_of(folder.journal_path("c0001-r10", 0), [row(1)])
    assert folder.finish_point("c0001-r1") == 1
    assert ids(at_schema(SCHEMA, folder.point_rows("c0001-r1", 0))) == ["p0"]


def test_a_run_cut_short(tmp_path):
    """A killed run gives back its finished points and every flushed row of the running one, torn tail and all."""
    folder = RunFolder(tmp_path / "run")
    folder.write_manifest(manifest())
    journal_of(folder.journal_path("c0008-r0", 0), [row(0)])
    folder.finish_point("c0008-r0")
    cut = folder.journal_path("c0016-r0", 0)
    journal_of(cut, [row(1)], [row(2)])
    cut.write_bytes(cut.read_bytes()[:-40])
    folder.journal_path("c0016-r0", 1).write_bytes(b"")
    assert ids(read_run(tmp_path / "run").table) == ["p0", "p1"]


def test_a_crash_between_compaction_and_cleaning_up_doubles_no_row(tmp_path):
    """A point whose journals are still there beside its Parquet file counts once."""
    folder = RunFolder(tmp_path / "run")
    folder.write_manifest(manifest())
    path = folder.journal_path("c0008-r0", 0)
    journal_of(path, [row(0)])
    content = path.read_bytes()
    folder.finish_point("c0008-r0")
    path.write_bytes(content)
    assert ids(read_run(tmp_path / "run").table) == ["p0"]
    folder.finish()
    assert ids(read_run(tmp_path / "run").table) == ["p0"]


OURS = [
    "requests.parquet",
    "summary.json",
    "report.html",
    "gpu.parquet",
    "server.parquet",
    "scores.parquet",
    "points/x",
    "journal/x",
]


@pytest.mark.parametrize("name", OURS)
def test_a_run_without_its_manifest_is_never_overwritten(tmp_path, name):
    """A folder that holds anything of a run but no manifest is refused and left as it is."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError) as refused:
        RunFolder(tmp_path)
    assert (refused.value.where, refused.value.given) == (str(tmp_path), f"a folder with {name.partition('/')[0]}")
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()] == [name]


def test_a_folder_of_a_crash_before_the_first_row_is_new(tmp_path):
    """Empty folders and no manifest are no run: the folder is taken."""
    first = RunFolder(tmp_path / "run")
    first.release()
    assert RunFolder(tmp_path / "run").before is None


def test_a_folder_of_a_crash_before_the_manifest_is_new(tmp_path):
    """Samples taken before there was a manifest are of no run; with rows beside them nothing is touched."""
    folder = RunFolder(tmp_path)
    folder.sample_log("server").close()
    folder.release()
    RunFolder(tmp_path).release()
    assert list((tmp_path / "journal").iterdir()) == []
    folder = RunFolder(tmp_path)
    folder.sample_log("server").close()
    journal_of(folder.journal_path("c0008-r0", 0), [row(1)])
    folder.release()
    with pytest.raises(InputError, match="no manifest"):
        RunFolder(tmp_path)
    assert len(list((tmp_path / "journal").iterdir())) == 2


def test_a_session_that_is_in_no_manifest(tmp_path):
    """A resume that was killed before it wrote its manifest does not stand in the next one's way."""
    folder = RunFolder(tmp_path)
    folder.write_manifest(manifest(sessions=[{}]))
    folder.release()
    for names in (["gpu.s1.samples"], ["gpu.s1.samples", "gpu.s2.samples"]):
        folder = RunFolder(tmp_path)
        folder.sample_log("gpu").close()
        folder.release()
        assert sorted(path.name for path in (tmp_path / "journal").iterdir()) == names


def test_one_run_at_a_time(tmp_path):
    """A folder that is being written is refused to everybody else, and free again when it is let go."""
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(InputError) as refused:
        RunFolder(tmp_path / "run")
    assert refused.value.what == "another benchsuite is measuring into this folder"
    folder.release()
    RunFolder(tmp_path / "run").release()


# what lies in a folder leads nowhere else
INSIDE = ["manifest.json", "requests.parquet", "gpu.parquet", "points/c0008-r0.parquet", "journal/c0008-r0.w0.arrows"]


STOOD_IN_FOR = ("requests.parquet", "gpu.parquet", "journal/c0008-r0.w0.arrows")  # the rows are elsewhere too


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
@pytest.mark.parametrize("name", [*INSIDE, "journal/gpu.s0.samples", "points", "journal"])
def test_no_way_out_of_a_run_folder(tmp_path, name, kind):
    """A link, a pipe or a folder in a file's place, and a link in a folder's, are refused; nothing outside changes."""
    if kind != "link" and "." not in name:
        pytest.skip("a folder belongs there, and a pipe is no folder")
    interrupted(tmp_path / "run")
    outside = tmp_path / "outside"
    outside.mkdir()
    theirs = (".important.0123456789abcdef.tmp", "gpu.s0.samples", "c0008-r0.parquet", "c0008-r0.w0.arrows", "notes")
    for each in theirs:
        (outside / each).write_text("precious")
    path = tmp_path / "run" / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if kind == "link":
        path.symlink_to(outside if "." not in name else outside / "notes")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    for act in (read_run, recover, RunFolder):
        try:
            act(tmp_path / "run")
        except (PointsError, StoreError, InputError):
            continue
        assert name in STOOD_IN_FOR
    assert sorted(each.name for each in outside.iterdir()) == sorted(theirs)
    assert {each.read_text() for each in outside.iterdir()} == {"precious"}


# what may stand in the place of a manifest or a matrix's plan
STRANGE = {
    "pipe": os.mkfifo,
    "link": lambda path: path.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
    "no JSON": lambda path: path.write_text("{"),
    "no text": lambda path: path.write_bytes(b"\xff"),
    "no table": lambda path: path.write_text("[1]"),
    "deep": lambda path: path.write_text("[" * 10**5),
    "other kinds": lambda path: path.write_text(
        '{"schema": 1, "plan": 5, "spec": {"server": 5}, "launched_server": {}}'
    ),
    "long": lambda path: path.write_bytes(b" " * (most("manifest_bytes") + 1)),
}


@pytest.mark.parametrize("put", STRANGE.values(), ids=STRANGE)
def test_what_is_no_manifest(put, tmp_path):
    """Whoever reads it, at once: an error of ours, and no port of a server that was started before."""
    for name in (MANIFEST, MATRIX):
        put(tmp_path / name)
    with pytest.raises(InputError):
        parse_spec(read_manifest(tmp_path).spec, where="the run")
    with pytest.raises(InputError):
        read_plan(tmp_path)
    assert served_plan("simulator", {}, tmp_path).port


def test_only_files_of_a_run_are_removed(tmp_path):
    """What somebody keeps in a run's folders stays there; so does a file that one of them is another name of."""
    interrupted(tmp_path / "run")
    kept = ["notes.tmp", ".notes.tmp", "journal/notes", "points/notes.txt"]
    for name in kept:
        (tmp_path / "run" / name).write_text("mine")
    log = next((tmp_path / "run" / "journal").glob("*.arrows"))
    (tmp_path / "second name").hardlink_to(log)
    content = log.read_bytes()
    recover(tmp_path / "run")
    assert all((tmp_path / "run" / name).read_text() == "mine" for name in kept)
    assert (tmp_path / "second name").read_bytes() == content
    assert not log.exists()


def test_a_file_that_is_replaced(tmp_path):
    """A link at its name is replaced, not followed; who may read a file stays as it was; hard links keep their file."""
    (tmp_path / "outside").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "second name").hardlink_to(tmp_path / "outside")
    (tmp_path / "private").touch(mode=0o600)
    for name in ("link", "second name", "private"):
        write_json(tmp_path / name, {})
        assert (tmp_path / name).read_text() == "{}\n"
    assert (tmp_path / "outside").read_text() == "precious"
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o600


def test_where_a_person_wants_an_output(tmp_path):
    """A link of theirs is followed and stays; a pipe is written to, at once or never; a device is not replaced."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "file")
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    for name in ("link", "folder/other"):
        assert write_output(tmp_path / name, "mine")
    assert (tmp_path / "link").is_symlink()
    assert [(tmp_path / "real" / name).read_text() for name in ("file", "other")] == ["mine"] * 2
    assert not write_output(Path("/dev/null"), "mine")
    if Path("/dev/shm").is_dir():  # files in memory are files
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            assert write_output(Path(folder) / "new", "mine")
            assert (Path(folder) / "new").read_text() == "mine"
    assert Path("/dev/null").is_char_device()
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "real", tmp_path / "gone" / "file"):
        with pytest.raises((InputError, StoreError)) as failed:
            write_output(path, "mine")
        assert failed.value.where == str(path)
    read = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert not write_output(tmp_path / "pipe", "mine")
    assert os.read(read, 9) == b"mine"
    os.close(read)


# a run taken up again
def interrupted(path, rows: int = 3) -> None:
    """A run killed in the second of its points: c0008-r0 whole, `rows` rows of c0016-r0 in a journal."""
    folder = RunFolder(path)
    points = [{"point_id": "c0008-r0", "status": "complete"}, {"point_id": "c0016-r0", "status": "running"}]
    journal_of(folder.journal_path("c0008-r0", 0), [row(0)])
    folder.finish_point("c0008-r0")
    journal_of(folder.journal_path("c0016-r0", 0), [row(i, point_id="c0016-r0") for i in range(1, 1 + rows)])
    log = folder.sample_log("gpu")
    log.append([GpuSample(1.0, 2.0, "nvml", "GPU-1")])
    folder.write_manifest(manifest(points=points))
    folder.release()


def test_recover(tmp_path):
    """What a crash left becomes the usual files, with every flushed row; a second time nothing changes."""
    interrupted(tmp_path / "run")
    run = recover(tmp_path / "run")
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["gpu.parquet", "manifest.json", "requests.parquet"]
    assert (ids(run.table), run.gpu.num_rows) == (["p0", "p1", "p2", "p3"], 1)
    assert [point["status"] for point in run.manifest["points"]] == ["complete", "interrupted"]
    assert run.manifest["status"] == "interrupted"
    assert ids(run.whole) == ["p0"]
    before = (tmp_path / "run" / "requests.parquet").read_bytes()
    recover(tmp_path / "run")
    assert (tmp_path / "run" / "requests.parquet").read_bytes() == before


def test_recover_not_while_it_is_measured(tmp_path):
    """A run that somebody measures is not recovered under their feet."""
    interrupted(tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(InputError):
        recover(tmp_path / "run")
    folder.release()
    assert recover(tmp_path / "run").table.num_rows == 4


@pytest.mark.parametrize("recovered", [False, True])
def test_a_run_goes_on(tmp_path, recovered):
    """A new attempt at an interrupted point stands beside the old one, whose rows stay; only the new one is whole."""
    interrupted(tmp_path / "run")
    if recovered:
        recover(tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    assert folder.last_attempts == {"c0008-r0": 0, "c0016-r0": 0}
    again = [row(i, point_id="c0016-r0", attempt=1) for i in range(1, 5)]
    journal_of(folder.journal_path("c0016-r0", 0, 1), again)
    folder.finish_point("c0016-r0", 1)
    log = folder.sample_log("gpu")
    log.append([GpuSample(9.0, 2.0, "nvml", "GPU-1")])
    log.close()
    points = [
        {"point_id": "c0008-r0", "status": "complete"},
        {"point_id": "c0016-r0", "status": "abandoned"},
        {"point_id": "c0016-r0", "status": "complete", "attempt": 1},
    ]
    folder.write_manifest(manifest("complete", points=points, sessions=[{}, {}]))
    for _ in range(2):  # before and after the parts have become one file
        run = read_run(tmp_path / "run")
        assert (run.table.num_rows, sorted(ids(run.whole))) == (8, ["p0", "p1", "p2", "p3", "p4"])
        assert run.gpu["at_s"].to_pylist() == [1.0, 9.0]
        if (tmp_path / "run" / "points").exists():
            folder.finish()
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["gpu.parquet", "manifest.json", "requests.parquet"]


def test_a_crash_between_the_whole_and_its_parts_doubles_no_row(tmp_path):
    """requests.parquet and gpu.parquet written, their parts not yet removed: each row and sample counts once."""
    interrupted(tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    recover(tmp_path / "run")
    for name in ("points", "journal"):
        shutil.copytree(tmp_path / "copy" / name, tmp_path / "run" / name)
    run = read_run(tmp_path / "run")
    assert (ids(run.table), run.gpu.num_rows) == (["p0", "p1", "p2", "p3"], 1)


def test_a_run_of_another_version_has_every_column(tmp_path):
    """Columns that it lacks are null, and columns that this version does not know are kept behind them."""
    journal_of(tmp_path / "j", [row(0)])
    old = read_journal(tmp_path / "j").drop_columns(["endpoint", "server_queue_s"])
    old = old.append_column("from_the_future", pa.array(["x"]))
    (tmp_path / "run").mkdir()
    pq.write_table(old, tmp_path / "run" / "requests.parquet")
    write_json(tmp_path / "run" / "manifest.json", {"schema": 1, "points": []})
    table = read_run(tmp_path / "run").table
    assert table.schema.names == [*RequestRecord._fields, "from_the_future"]
    assert table.select(["endpoint", "server_queue_s", "from_the_future"]).to_pylist() == [
        {"endpoint": None, "server_queue_s": None, "from_the_future": "x"}
    ]


def test_a_folder_that_cannot_be_made(tmp_path):
    """A file in the way of the output folder is said."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError) as refused:
        RunFolder(tmp_path / "file" / "run")
    assert refused.value.what == "the output folder cannot be created"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "not a run folder: it has no manifest.json"),
        ("{", "the manifest cannot be read"),
        ("[]", "the run was written by another version of benchsuite"),
        ('{"schema": 3}', "the run was written by another version of benchsuite"),
        ('{"schema": "1"}', "the run was written by another version of benchsuite"),
    ],
)
def test_runs_refused(tmp_path, content, what):
    """What is no run, or a newer benchsuite's, is refused with the reason."""
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(PointsError) as refused:
        read_run(tmp_path)
    assert refused.value.what == what


DAMAGED = {
    "points.0.attempt": [2**31 - 1, -1, "x", 1.5],
    "points.0.ended_s": [1e300, float("inf"), "x"],
    "points.0.rate_per_s": [0, -1.0, 1e300, float("inf"), float("nan"), "x"],
    "points.0.point_id": ["../../x", "", None, "a/b"],
    "points.0.client": [[], {"read_lag": 5}, {"read_lag": {"p99_us": []}}, {"n_reads": "x"}, {"n_reads": {}}],
    "points.0.clocks": [{"suspended_s": 10**400}, {"suspended_s": float("nan")}],
    "calibration": [5, {"points": 5}, {"points": [5]}, {"points": [{"concurrency": 1, "gap_error_ms": {"p99": "x"}}]}],
    "clock.origin_wall_ns": [2**63, 1.5, "x"],
    "sessions": [5, [5]],
    "planned_points": [["../x"], "x"],
    "spec": [5, {"x": "a" * 2**22}],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in DAMAGED.items() for value in values])
def test_a_damaged_manifest_is_refused_by_the_key(tmp_path, key, value):
    """A value that no manifest of ours has is an error that names its place, never a traceback further on."""
    tree = {"schema": SCHEMA_VERSION, "clock": {}, "points": [{"point_id": "c0001-r0", "status": "complete"}]}
    at = tree
    *above, last = key.split(".")
    for part in above:
        at = at[int(part)] if part.isdigit() else at[part]
    at[last] = value
    (tmp_path / "manifest.json").write_text(json.dumps(tree))
    with pytest.raises(PointsError) as refused:
        read_run(tmp_path)
    assert refused.value.what == "the manifest is damaged"
    assert key.rpartition(".")[2] in refused.value.where


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b'{"schema": 1, "schema"', b"null", b"1" * 9999])
def test_a_manifest_that_is_none(tmp_path, content):
    """Nothing, no UTF-8, brackets without end, a torn text, a number of thousands of digits: an error with the path."""
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(PointsError) as refused:
        read_run(tmp_path)
    assert refused.value.where == str(tmp_path / "manifest.json")


def test_broken_rows_are_refused(tmp_path):
    """A requests.parquet that is none is refused by name."""
    (tmp_path / "manifest.json").write_text('{"schema": 1}')
    (tmp_path / "requests.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(PointsError) as refused:
        read_run(tmp_path)
    assert refused.value.what == "the rows cannot be read"


# JSON
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_nan_in_json(tmp_path, value):
    """NaN and infinity are refused, and the file that was there stays."""
    path = tmp_path / "m.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": value})
    assert json.loads(path.read_text("utf-8")) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["m.json"]


def test_json_is_readable(tmp_path):
    """JSON is UTF-8, indented, and ends with a newline."""
    write_json(tmp_path / "m.json", {"a": "é"})
    assert (tmp_path / "m.json").read_bytes() == '{\n "a": "é"\n}\n'.encode()


def test_a_file_that_cannot_be_written(tmp_path):
    """A folder that is gone is a StoreError that names the file."""
    with pytest.raises(StoreError) as failed:
        write_json(tmp_path / "gone" / "m.json", {})
    assert failed.value.where == str(tmp_path / "gone" / "m.json")


def test_a_file_system_that_is_read_only(tmp_path, monkeypatch):
    """It is a StoreError too, where not even the temporary file can be removed."""

    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StoreError, match="Read-only file system"):
        write_json(tmp_path / "m.json", {})


def test_a_journal_of_another_version(tmp_path):
    """Columns that it lacks are null, those that nobody knows stay, and its rows go into the whole with the others."""
    folder = RunFolder(tmp_path)
    folder.write_manifest(manifest())
    journal_of(tmp_path / "now.arrows", [row(1)])
    older = read_journal(tmp_path / "now.arrows").drop_columns(["server_decode_s", "endpoint"])
    older = older.append_column("mood", pa.array(["calm"]))
    records(folder.journal_path("c0008-r0", 0), older.schema.serialize(), *(b.serialize() for b in older.to_batches()))
    journal_of(folder.journal_path("c0008-r0", 1), [row(2)])
    folder.release()
    found = recover(tmp_path).table
    assert ids(found) == ["p1", "p2"]
    assert found["endpoint"].to_pylist() == [None, row().endpoint]
    assert found["mood"].to_pylist() == ["calm", None]


def test_not_while_a_process_of_a_killed_sweep_still_writes(tmp_path, monkeypatch):
    """Its journal would be removed under it: recovering waits, then refuses; with the process gone it has every row."""
    folder = RunFolder(tmp_path)
    folder.write_manifest(manifest())
    journal = Journal(folder.journal_path("c0008-r0", 0))
    folder.release()  # as its death does
    monkeypatch.setattr("benchsuite.store.run_folder.wait_for_writers", partial(wait_for_writers, most_s=0.03))
    with pytest.raises(InputError, match="a measuring process of a sweep that was killed still writes"):
        recover(tmp_path)
    journal.append(row(1))
    journal.close()
    assert ids(recover(tmp_path).table) == ["p1"]


def test_samples_after_a_clock_was_set_back(tmp_path):
    """A later session whose seconds lie before an earlier one's keeps its samples; a crash doubles none."""
    sample = GpuSample(**dict.fromkeys(GpuSample._fields) | {"source": "nvml", "uuid": "GPU-1"})
    for session, at_s in ((0, 50.0), (1, 20.0)):
        folder = RunFolder(tmp_path)
        log = folder.sample_log("gpu")
        log.append([sample._replace(at_s=at_s, wall_s=at_s)])
        log.close()
        folder.write_manifest(manifest(sessions=[{}] * (session + 1)))
        saved = tmp_path.parent / f"log-{session}"
        shutil.copytree(tmp_path / "journal", saved)
        folder.finish()
        folder.release()
    assert read_run(tmp_path).gpu["at_s"].to_pylist() == [50.0, 20.0]
    shutil.copytree(saved, tmp_path / "journal")  # as a crash behind the last file leaves it
    assert read_run(tmp_path).gpu["at_s"].to_pylist() == [50.0, 20.0]
