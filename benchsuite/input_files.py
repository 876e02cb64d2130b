"""Files that people give: a request set (of any format, or the generated clinical set), tables, prices.

The pure packages never open a file; this does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchsuite.errors import InputError, WorkloadError, os_error_as
from benchsuite.redact import masked
from benchsuite.workload.dataset import Workload, take, to_jsonl

if TYPE_CHECKING:
    from benchsuite.request_spec import WorkloadSpec
    from benchsuite.workload.random_set import TokensPerWord
    from benchsuite.workload.readers import Container
    from benchsuite.workload.tokenizer import TextTokenizer

WINEVAL, RANDOM = "wineval", "random"


def read_workload(
    asked: WorkloadSpec, seed: int, format_name: str = "auto", ruler: TokensPerWord | None = None
) -> Workload:
    """The workload that is asked for: 'wineval' or 'random' (generated with `seed`), a file, or a data set of the hub.

    Without a number of requests, all of them (2,993 for wineval). A file with fewer starts again under new ids; a file
    is read in its own order whatever the seed, and of a longer one no more than is asked for. ruler: what counts the
    random words of a set and of a trace, if the request names no tokenizer; None: their characters. Raises
    WorkloadError for a file that is missing or no request set, or with more odd rows than may be skipped.
    """
    from benchsuite.workload.random_set import TokensPerWord, make_random

    source, requests = asked.source, asked.requests
    if source == WINEVAL:
        from benchsuite.workload.wineval import REQUESTS, make_wineval

        return make_wineval(REQUESTS if requests is None else requests, seed)

    def find_ruler() -> TokensPerWord | TextTokenizer:
        return ruler or (read_tokenizer(asked.tokenizer) if asked.tokenizer else TokensPerWord())

    if source == RANDOM:
        return make_random(asked, seed, find_ruler())
    from benchsuite.workload.formats import known_columns, parse_workload
    from benchsuite.workload.readers import open_rows
    from benchsuite.workload.traces import TraceTexts

    keys: dict[str, Any] = {"columns": asked.columns, "skip_bad": asked.skip_bad, "requests": requests}
    keys |= {"where": source, "format_name": format_name, "texts": TraceTexts(seed, find_ruler, asked.trace_block)}
    if source.startswith("hf:"):
        workload = parse_workload(_hugging_face(source), name=source, **keys)
    else:
        path, hint = (
            Path(source),
            "check the path after --workload, or make one: benchsuite workload make wineval --output FILE",
        )
        try:
            with path.open("rb") as file:
                rows = open_rows(file, source, known_columns(asked.columns))
                workload = parse_workload(rows, name=path.name.split(".")[0] or path.name, **keys)
        except FileNotFoundError:
            raise WorkloadError("the workload file does not exist", where=source, hint=hint) from None
        except OSError as error:
            raise WorkloadError("the workload file cannot be read", where=source, given=error.strerror) from None
    return workload if requests is None else take(workload, requests)


def read_tokenizer(name: str) -> TextTokenizer:
    """The tokenizer in a tokenizer.json, in a folder with one, or of a model on the hub (its cache first).

    Raises InputError for one that is not there, and where the library is missing.
    """
    where = "--tokenizer (workload.tokenizer)"
    try:
        from tokenizers import Tokenizer
    except ImportError:
        needs, hint = "the Python package tokenizers", "pip install 'benchsuite[tokenizers]'"
        raise InputError(
            "a tokenizer needs a package that is missing", where=where, expected=needs, hint=hint
        ) from None
    from benchsuite.strict_model import read_text
    from benchsuite.workload.tokenizer import TextTokenizer

    path = Path(name)
    file = path / "tokenizer.json" if path.is_dir() else path
    a_path = path.exists() or name.endswith(".json") or name.startswith((".", "/", "~"))
    try:
        if not a_path:  # the library would ask the hub first, for half a minute where there is no network
            from huggingface_hub import try_to_load_from_cache

            cached = try_to_load_from_cache(name, "tokenizer.json")
            a_path, file = isinstance(cached, str), Path(str(cached))
        text = read_text(file, "the tokenizer") if a_path else ""
        return TextTokenizer(name, Tokenizer.from_str(text) if a_path else Tokenizer.from_pretrained(name))
    except Exception as error:  # the libraries' own, of files, formats and the network
        raise InputError(
            "the tokenizer cannot be read" if a_path else "the tokenizer cannot be loaded from the hub or its cache",
            where=where,
            given=f"{name}: {str(error).strip().partition(chr(10))[0][:200]}",
            expected="a tokenizer.json, a folder with one, or a model's name on the Hugging Face hub",
            hint=None if a_path else "without a network: the path of the model's folder",
        ) from None


def _hugging_face(source: str) -> Container:
    """The rows of hf:ORG/NAME[:CONFIG]:SPLIT, one after another as they are downloaded."""
    from benchsuite.workload.readers import Container

    name, _, rest = source.removeprefix("hf:").partition(":")
    config, _, split = rest.rpartition(":")
    if not name or not split:
        raise WorkloadError(
            "a data set of Hugging Face has a name and a split", where="--workload", given=source,
            expected="hf:ORG/NAME:SPLIT or hf:ORG/NAME:CONFIG:SPLIT, such as hf:openai/gsm8k:main:test",
        )  # fmt: skip
    try:
        import datasets
    except ImportError:
        hint = "pip install 'benchsuite[hf]', or download a Parquet or JSONL file of it and give that"
        raise WorkloadError("the package datasets is missing", where=source, hint=hint) from None

    def rows() -> Iterator[tuple[int, Any]]:
        try:
            yield from enumerate(datasets.load_dataset(name, config or None, split=split, streaming=True), 1)
        except Exception as error:  # of datasets, huggingface_hub, httpx, fsspec, pyarrow: whatever it is, it is theirs
            raise WorkloadError(
                "the data set cannot be read from Hugging Face",
                where=source,
                given=f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}",
                expected="the name, config and split as huggingface.co has them, and a network or a copy in HF_HOME",
                hint="offline: download a Parquet or JSONL file of it elsewhere, and give that",
            ) from error

    return Container("a Hugging Face data set", "row", rows())


def write_workload(workload: Workload, output: str, *, force: bool = False) -> None:
    """Writes native JSONL to the file `output` (folders are made), or to stdout for '-'.

    Raises WorkloadError if the file exists and not `force`, and StoreError where it cannot be written.
    """
    text = "".join(f"{line}\n" for line in to_jsonl(workload.prompts))
    if output == "-":
        try:
            sys.stdout.buffer.write(masked(text).encode())
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            # The reader (head, less) has enough; without this Python complains again when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    path = Path(output)
    if (path.is_file() or path.is_dir()) and not force:
        hint = "--force to overwrite it"
        raise WorkloadError("the file already exists", where=output, expected="a new file", hint=hint)
    from benchsuite.store.files import write_output

    with os_error_as(WorkloadError, "the workload cannot be written", output):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_output(path, text)
