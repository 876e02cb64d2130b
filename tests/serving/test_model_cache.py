"""The model cache: made once, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchsuite.errors import EngineError
from benchsuite.serving import tiny_model
from benchsuite.serving.tiny_model import TinyModelSpec, cache_dir, cached_tiny_model

pytest.importorskip("gguf", reason="the tiny model needs the extra `engine`")
pytest.importorskip("tokenizers", reason="the tiny model needs the extra `engine`")
pytest.importorskip("safetensors", reason="the tiny model needs the extra `engine`")


def test_the_second_call_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cached model is returned without being made again."""
    first = cached_tiny_model(cache=tmp_path)
    monkeypatch.setattr(tiny_model, "make_tiny_model", None)

    assert cached_tiny_model(cache=tmp_path) == first
    assert (first / "model.gguf").is_file()


def test_each_spec_has_its_folder(tmp_path: Path) -> None:
    """Two specs are two folders, and nothing else is left in the cache."""
    folders = {cached_tiny_model(cache=tmp_path), cached_tiny_model(TinyModelSpec(seed=2), cache=tmp_path)}

    assert set(tmp_path.iterdir()) == folders
    assert len(folders) == 2


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the model cannot be made, the cache has neither the folder nor a half-made one."""

    def fail(*_: object) -> None:
        raise RuntimeError("disk on fire")

    monkeypatch.setattr(tiny_model, "make_tiny_model", fail)

    with pytest.raises(RuntimeError, match="disk on fire"):
        cached_tiny_model(cache=tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_the_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """XDG_CACHE_HOME decides where the cache is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert cache_dir() == tmp_path / "benchsuite"


def test_a_cache_that_cannot_be_written_is_an_engine_error(tmp_path: Path) -> None:
    """A file in the place of the cache folder gives an EngineError with the remedy."""
    blocked = tmp_path / "cache"
    blocked.write_text("in the way")

    with pytest.raises(EngineError, match="XDG_CACHE_HOME"):
        cached_tiny_model(cache=blocked)
