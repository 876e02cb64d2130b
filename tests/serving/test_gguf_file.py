"""The GGUF file says the same as the folder it was made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchsuite.errors import EngineError
from benchsuite.serving.tiny_model import make_tiny_model, write_gguf

gguf = pytest.importorskip("gguf", reason="GGUF needs the extra `engine`")
pytest.importorskip("tokenizers", reason="the tiny model needs the extra `engine`")
pytest.importorskip("safetensors", reason="the tiny model needs the extra `engine`")


def test_the_file_can_be_read_back(tmp_path: Path) -> None:
    """Architecture, sizes, vocabulary and all 21 tensors are in the file."""
    make_tiny_model(tmp_path, gguf=True)
    reader = gguf.GGUFReader(tmp_path / "model.gguf")

    def value(key: str) -> object:
        return reader.fields[key].contents()

    assert value("general.architecture") == "llama"
    assert value("llama.embedding_length") == 128
    assert value("llama.block_count") == 2
    assert value("llama.context_length") == 32768
    assert value("tokenizer.ggml.eos_token_id") == 2
    assert len(reader.fields["tokenizer.ggml.tokens"].data) == 4096
    assert len(reader.tensors) == 21


def test_query_rows_are_interleaved(tmp_path: Path) -> None:
    """Row 1 of the query matrix is row 32 of the folder's: the two halves of a head of 64 alternate."""
    from safetensors.numpy import load_file

    make_tiny_model(tmp_path, gguf=True)
    reader = gguf.GGUFReader(tmp_path / "model.gguf")
    ours = load_file(tmp_path / "model.safetensors")["model.layers.0.self_attn.q_proj.weight"]
    theirs = next(tensor.data for tensor in reader.tensors if tensor.name == "blk.0.attn_q.weight")

    np.testing.assert_array_equal(theirs[[0, 1, 2, 63, 64]], ours[[0, 32, 1, 63, 64]])


def test_an_incomplete_folder_is_named(tmp_path: Path) -> None:
    """A folder without a model is an EngineError that names it."""
    with pytest.raises(EngineError, match="not complete"):
        write_gguf(tmp_path, tmp_path / "model.gguf")
