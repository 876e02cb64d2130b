"""The tiny model is made once for each spec and kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

from benchsuite.errors import EngineError
from benchsuite.serving.extras import missing_extra
from benchsuite.serving.tiny_model import TinyModelSpec, make_tiny_model

_LIBRARIES = ("gguf", "numpy", "safetensors", "tokenizers")
_RECIPE = ("tiny_model.py", "tiny_tokenizer.py", "gguf_file.py", "training_text.txt")


def cache_dir() -> Path:
    """$XDG_CACHE_HOME/benchsuite, or ~/.cache/benchsuite."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "benchsuite"


def cached_tiny_model(spec: TinyModelSpec | None = None, *, cache: Path | None = None) -> Path:
    """The folder of the model of `spec`, with its model.gguf; made if it is not there yet.

    cache: None is `cache_dir()`. A folder appears whole or not at all, also with several processes at once.
    Raises EngineError when the extra `engine` is not installed or the cache cannot be written.
    """
    spec = spec or TinyModelSpec()
    final = (cache or cache_dir()) / f"tiny-model-{_key(spec)}"
    if final.is_dir():
        return final
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".tiny-model-", dir=final.parent))
    except OSError as error:
        raise EngineError(
            "the cache folder cannot be written", given=str(error), hint="set XDG_CACHE_HOME to a folder that can"
        ) from error
    try:
        make_tiny_model(work, spec)
        try:
            work.rename(final)
        except OSError:
            if not final.is_dir():  # else another process was first, with the same bytes
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return final


def _key(spec: TinyModelSpec) -> str:
    """A digest of everything that decides the model's bytes: the spec, the libraries, and our own recipe."""
    try:
        libraries = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    except importlib.metadata.PackageNotFoundError as error:
        raise missing_extra(str(error.name), "making the tiny model") from error
    digest = hashlib.sha256(json.dumps([asdict(spec), libraries], sort_keys=True).encode())
    for name in _RECIPE:
        digest.update((files("benchsuite.serving") / name).read_bytes())
    return digest.hexdigest()[:16]
