"""Files that people give: a request set (a native JSONL file, or the generated clinical set), tables, prices.

The pure packages never open a file; this does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchsuite.errors import InputError, WorkloadError, os_error_as
from benchsuite.workload.dataset import Workload, take, to_jsonl

if TYPE_CHECKING:
    from benchsuite.spec import WorkloadSpec
    from benchsuite.workload.tokenizer import TextTokenizer

WINEVAL, RANDOM = "wineval", "random"


def read_workload(asked: WorkloadSpec, seed: int) -> Workload:
    """The workload that is asked for: 'wineval' or 'random' (generated with `seed`), or a native JSONL file.

    Without a number of requests, all of them (2,993 for wineval). A file with fewer starts again under new ids; a file
    is read in its own order whatever the seed. Raises WorkloadError for a file that is missing, not UTF-8, or not the
    format.
    """
    source, requests = asked.source, asked.requests
    if source == WINEVAL:
        from benchsuite.workload.wineval import REQUESTS, make_wineval

        return make_wineval(REQUESTS if requests is None else requests, seed)
    if source == RANDOM:
        from benchsuite.workload.random_set import TokensPerWord, make_random

        return make_random(asked, seed, read_tokenizer(asked.tokenizer) if asked.tokenizer else TokensPerWord())
    from benchsuite.workload.formats import parse_workload

    path = Path(source)
    hint = "--workload FILE where it moved, or make one: benchsuite workload make wineval --output FILE"
    text = read_text(path, "the workload file", hint=hint, error_type=WorkloadError)
    workload = parse_workload(text, where=source, name=path.stem)
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
    from benchsuite.workload.tokenizer import TextTokenizer

    path = Path(name)
    file = path / "tokenizer.json" if path.is_dir() else path
    a_path = path.exists() or name.endswith(".json") or name.startswith((".", "/", "~"))
    try:
        if not a_path:  # the library would ask the hub first, for half a minute where there is no network
            from huggingface_hub import try_to_load_from_cache

            cached = try_to_load_from_cache(name, "tokenizer.json")
            a_path, file = isinstance(cached, str), Path(str(cached))
        return TextTokenizer(name, Tokenizer.from_file(str(file)) if a_path else Tokenizer.from_pretrained(name))
    except Exception as error:  # the libraries' own, of files, formats and the network
        raise InputError(
            "the tokenizer cannot be read" if a_path else "the tokenizer cannot be had from the hub or its cache",
            where=where,
            given=f"{name}: {str(error).strip().partition(chr(10))[0][:200]}",
            expected="a tokenizer.json, a folder with one, or a model's name on the Hugging Face hub",
            hint=None if a_path else "without a network: the path of the model's folder",
        ) from None


def write_workload(workload: Workload, output: str, *, force: bool = False) -> None:
    """Writes native JSONL to the file `output` (folders are made), or to stdout for '-'.

    Raises WorkloadError if the file exists and not `force`, or cannot be written.
    """
    data = "".join(f"{line}\n" for line in to_jsonl(workload.prompts)).encode()
    if output == "-":
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            # The reader (head, less) has enough; without this Python complains again when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    path = Path(output)
    if path.exists() and not force:
        hint = "--force to write over it"
        raise WorkloadError("the file exists already", where=output, expected="a new file", hint=hint)
    with os_error_as(WorkloadError, "the workload cannot be written", output):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def read_text(path: Path, what: str, *, hint: str | None = None, error_type: type[InputError] = InputError) -> str:
    """The file's text. what: how to call it; hint: what to do where it does not exist. Raises error_type."""
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise error_type(
            f"{what} is not UTF-8 text",
            where=f"{path}:{line}",
            given=f"byte 0x{error.object[error.start]:02x} at offset {error.start}",
            expected="UTF-8",
        ) from None
    except FileNotFoundError:
        raise error_type(f"{what} does not exist", where=str(path), hint=hint) from None
    except OSError as error:
        raise error_type(f"{what} cannot be read", where=str(path), given=error.strerror) from None
