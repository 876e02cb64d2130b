"""How a GPU is asked through NVML: what it does not have is None and said once; a GPU that is gone is told apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pynvml

T = TypeVar("T")

# after these nothing more can be had of the device, or of the library
_GONE = frozenset(
    {
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_GPU_IS_LOST,
        pynvml.NVML_ERROR_RESET_REQUIRED,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    }
)


class Gone(Exception):
    """The device cannot be read at all; the message is NVML's word."""


class Notes:
    """Words for a person, each once and in order; `absent` gathers the fields that a model lacks into one line."""

    def __init__(self) -> None:
        self._told: dict[str, None] = {}
        self._absent: dict[tuple[str, str], list[str]] = {}
        self._seen: set[tuple[str, str, str]] = set()

    def tell(self, words: str) -> None:
        """Say it, unless it was said."""
        self._told.setdefault(words)

    def absent(self, model: str, word: str, field: str) -> None:
        """The field is null on this model, in NVML's word; said by the next `flush`, once."""
        if (model, word, field) not in self._seen:
            self._seen.add((model, word, field))
            self._absent.setdefault((model, word), []).append(field)

    def flush(self) -> None:
        """Turn what was found absent since the last flush into a line for each model and word."""
        for (model, word), fields in self._absent.items():
            self.tell(f"{model}: {word}: {', '.join(fields)} stay empty")
        self._absent.clear()

    def all(self) -> tuple[str, ...]:
        """What was said so far."""
        return tuple(self._told)


class Asker:
    """Asks one device, and remembers which functions its library does not have."""

    def __init__(self, device: str, model: str, notes: Notes) -> None:
        self._device, self._model, self._notes = device, model, notes
        self._missing: set[tuple[str, int]] = set()
        self.trouble: list[str] = []

    def ask(self, field: str, *ways: Callable[[], T]) -> T | None:
        """The first way's answer that the library knows; None where it does not, or the part does not have it.

        Any other error is None too, and goes to `trouble` (field and NVML's word). Raises Gone.
        """
        for i, way in enumerate(ways):
            if (field, i) in self._missing:
                continue
            try:
                return way()
            except pynvml.NVMLError as error:
                if error.value == pynvml.NVML_ERROR_FUNCTION_NOT_FOUND:
                    self._missing.add((field, i))
                    if i + 1 == len(ways):
                        self._notes.absent(self._model, "the driver's library lacks the function", field)
                elif error.value == pynvml.NVML_ERROR_NOT_SUPPORTED:
                    self._notes.absent(self._model, "not supported", field)
                    return None
                elif error.value in _GONE:
                    raise Gone(word_of(error)) from None
                else:
                    self.trouble.append(f"{field}: {word_of(error)}")
                    self._notes.tell(f"{self._device}: {field} failed at times: {word_of(error)}")
                    return None
        return None


def word_of(error: Exception) -> str:
    """NVML's word for the error, never empty."""
    return str(error) or type(error).__name__
