"""The run folder: facts on disk, and back again. The only place that knows file names, Parquet and Arrow.

names: what is where; schema: the columns; files: whole or not at all; journal: rows and samples as they come;
reading: a run read back; folder: a run being written.
"""

from benchsuite.store.files import write_bytes, write_json, write_parquet
from benchsuite.store.folder import RunFolder, recover, write_whole_run
from benchsuite.store.journal import Journal, SampleLog, keep_pandas_out, read_journal
from benchsuite.store.names import MANIFEST, REPORT, REQUESTS, SUMMARY
from benchsuite.store.reading import Run, read_run
from benchsuite.store.schema import GPU, SCHEMA, SERVER

__all__ = [
    "GPU",
    "MANIFEST",
    "REPORT",
    "REQUESTS",
    "SCHEMA",
    "SERVER",
    "SUMMARY",
    "Journal",
    "Run",
    "RunFolder",
    "SampleLog",
    "keep_pandas_out",
    "read_journal",
    "read_run",
    "recover",
    "write_bytes",
    "write_json",
    "write_parquet",
    "write_whole_run",
]
