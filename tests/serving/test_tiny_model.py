"""The tiny model: deterministic bytes, a tokenizer that can spell Chinese, replies of a decided length, GGUF, cache."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchsuite.errors import EngineError, SpecError
from benchsuite.serving import tiny_model
from benchsuite.serving.tiny_model import TinyModelSpec, cache_dir, cached_tiny_model, make_tiny_model
from benchsuite.strict_model import validated

pytest.importorskip("tokenizers", reason="the tiny model needs the extra `engine`")
pytest.importorskip("safetensors", reason="the tiny model needs the extra `engine`")
gguf = pytest.importorskip("gguf", reason="the tiny model needs the extra `engine`")

FILES = {
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.gguf",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
}
SENTENCE = "患者，男性，58岁，反复胸闷、气促3个月，加重伴双下肢水肿1周入院。"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the default model."""
    folder = tmp_path_factory.mktemp("tiny")
    make_tiny_model(folder)
    return folder


def read_all(folder: Path) -> dict[str, bytes]:
    """Every file of `folder`, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_same_spec_same_bytes(model: Path, tmp_path: Path) -> None:
    """Two models of one spec are equal in every byte of every file, the GGUF file too."""
    make_tiny_model(tmp_path / "again")

    assert set(read_all(model)) == FILES
    assert read_all(tmp_path / "again") == read_all(model)


def test_another_seed_changes_the_weights_only(model: Path, tmp_path: Path) -> None:
    """The seed decides the weights and nothing else."""
    make_tiny_model(tmp_path, TinyModelSpec(seed=7))

    changed = {name for name, content in read_all(model).items() if read_all(tmp_path)[name] != content}

    assert changed == {"model.safetensors", "model.gguf"}


def test_gguf_can_be_left_out(tmp_path: Path) -> None:
    """The default spec has 1.3 million parameters; without GGUF there is no such file."""
    assert make_tiny_model(tmp_path, gguf=False)[0] == 1_344_128
    assert not (tmp_path / "model.gguf").exists()


def test_chinese_costs_about_one_token_a_character(model: Path) -> None:
    """A clinical sentence of 34 characters takes 27 tokens, and comes back unchanged."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    ids = tokenizer.encode(SENTENCE).ids

    assert (len(SENTENCE), len(ids)) == (34, 27)
    assert tokenizer.decode(ids) == SENTENCE


def test_a_character_that_was_never_seen_can_be_spelt(model: Path) -> None:
    """The byte alphabet spells what the training text lacks."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))

    assert tokenizer.decode(tokenizer.encode("🦉 žluťoučký").ids) == "🦉 žluťoučký"


def test_only_readable_ascii_can_be_produced(model: Path) -> None:
    """The head's bias makes the end of sequence, the specials and every piece of UTF-8 impossible."""
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    bias = load_file(model / "model.safetensors")["lm_head.weight"][:, 0]
    producible = [index for index in range(4096) if bias[index] > -60]

    assert all(bias[:5] == -60)
    assert len(producible) > 1000
    assert all(tokenizer.decode([index]).isascii() for index in producible)
    assert all(tokenizer.decode([index]) for index in producible)


def test_nothing_writes_to_the_bias_channel(model: Path) -> None:
    """Dimension 0 is 1 in every embedding, and no layer adds to it."""
    from safetensors.numpy import load_file

    weights = load_file(model / "model.safetensors")

    assert (weights["model.embed_tokens.weight"][:, 0] == 1).all()
    for layer in (0, 1):
        assert not weights[f"model.layers.{layer}.self_attn.o_proj.weight"][0].any()
        assert not weights[f"model.layers.{layer}.mlp.down_proj.weight"][0].any()


def test_eos_every_makes_the_end_possible(tmp_path: Path) -> None:
    """With eos_every the end of sequence has a bias above the others'; the other specials stay impossible."""
    from safetensors.numpy import load_file

    make_tiny_model(tmp_path, TinyModelSpec(eos_every=20), gguf=False)
    bias = load_file(tmp_path / "model.safetensors")["lm_head.weight"][:5, 0]

    assert bias[2] > 0
    assert [*bias[:2], *bias[3:]] == [-60, -60, -60, -60]


def test_any_bytes_bans_only_the_specials(tmp_path: Path) -> None:
    """With any_bytes all 4091 ordinary tokens are producible."""
    assert make_tiny_model(tmp_path, TinyModelSpec(any_bytes=True), gguf=False)[1] == 4091


def test_rows_beyond_the_tokenizer_are_never_produced(tmp_path: Path) -> None:
    """A vocabulary larger than the training text can fill is padded with impossible rows."""
    from safetensors.numpy import load_file

    make_tiny_model(tmp_path, TinyModelSpec(vocab_size=20_000))
    bias = load_file(tmp_path / "model.safetensors")["lm_head.weight"][:, 0]

    assert json.loads((tmp_path / "config.json").read_text("utf-8"))["vocab_size"] == 20_000
    assert len(bias) == 20_000
    assert bias[-1] == -60


@pytest.mark.parametrize(
    "wrong",
    [
        {"layers": 0},
        {"heads": 3},
        {"hidden_size": 6, "heads": 2},
        {"heads": 4, "kv_heads": 3},
        {"vocab_size": 260},
        {"seed": -1},
        {"eos_every": 1.0},
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(wrong: dict[str, int]) -> None:
    """Sizes that do not fit together are an input error, before anything is written."""
    with pytest.raises(SpecError):
        validated(TinyModelSpec, wrong, "the tiny model", where="flags")


@pytest.mark.parametrize("library", ["safetensors.numpy", "tokenizers", "gguf"])
def test_a_missing_library_is_named_with_its_remedy(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a library of the extra, the error says which and how to install it."""
    monkeypatch.setitem(sys.modules, library, None)

    with pytest.raises(EngineError, match=r"pip install 'benchsuite\[engine\]'") as caught:
        make_tiny_model(tmp_path)

    assert library.split(".")[0] in str(caught.value)


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


def test_the_second_call_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cached model is returned without being made again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = cached_tiny_model()
    monkeypatch.setattr(tiny_model, "make_tiny_model", None)

    assert cached_tiny_model() == first
    assert (first / "model.gguf").is_file()


def test_each_spec_has_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two specs are two folders, and nothing else is left in the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folders = {cached_tiny_model(), cached_tiny_model(TinyModelSpec(seed=2))}

    assert set(cache_dir().iterdir()) == folders
    assert len(folders) == 2


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the model cannot be made, the cache has neither the folder nor a half-made one."""

    def fail(*_: object) -> None:
        raise RuntimeError("disk on fire")

    monkeypatch.setattr(tiny_model, "make_tiny_model", fail)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    with pytest.raises(RuntimeError, match="disk on fire"):
        cached_tiny_model()

    assert list(cache_dir().iterdir()) == []


def test_the_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """XDG_CACHE_HOME decides where the cache is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert cache_dir() == tmp_path / "benchsuite"


def test_a_cache_that_cannot_be_written_is_an_engine_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the place of the cache folder gives an EngineError with the remedy."""
    blocked = tmp_path / "cache"
    blocked.write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))

    with pytest.raises(EngineError, match="XDG_CACHE_HOME"):
        cached_tiny_model()
