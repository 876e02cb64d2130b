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
    """Words for a person, each once and in order; `empty` gathers the fields that have one reason into one line."""

    def __init__(self) -> None:
        self._told: dict[str, None] = {}
        self._empty: dict[tuple[str, str], list[str]] = {}
        self._seen: set[tuple[str, str, str]] = set()

    def tell(self, words: str) -> None:
        """Say it, unless it was said."""
        self._told.setdefault(words)

    def empty(self, whose: str, why: str, field: str) -> None:
        """The field is empty, for all cards of a model or for one card; said by the next `flush`, once."""
        if (whose, why, field) not in self._seen:
            self._seen.add((whose, why, field))
            self._empty.setdefault((whose, why), []).append(field)

    def flush(self) -> None:
        """Turn what was found empty since the last flush into a line for each reason."""
        for (whose, why), fields in self._empty.items():
            self.tell(f"{whose}: {why}: {', '.join(fields)}")
        self._empty.clear()

    def all(self) -> tuple[str, ...]:
        """What was said so far."""
        return tuple(self._told)


class Asker:
    """Asks one device, and remembers which functions its library does not have."""

    def __init__(self, model: str, notes: Notes) -> None:
        self._model, self._notes = model, notes
        self._missing: set[tuple[str, int]] = set()
        self.trouble: dict[str, str] = {}

    def ask(self, field: str, *ways: Callable[[], T]) -> T | None:
        """The first way's answer that the library knows; None where it does not, or the part does not have it.

        Any other error is None too, and goes to `trouble` (field to NVML's word). Raises Gone.
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
                        self._notes.empty(self._model, "empty, the driver's library is too old", field)
                elif error.value == pynvml.NVML_ERROR_NOT_SUPPORTED:
                    self._notes.empty(self._model, "empty, not supported", field)
                    return None
                elif error.value in _GONE:
                    raise Gone(word_of(error)) from None
                else:
                    self.trouble[field] = word_of(error)
                    return None
        return None


def word_of(error: Exception) -> str:
    """NVML's word for the error, never empty."""
    return str(error) or type(error).__name__
