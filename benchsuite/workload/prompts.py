"""Request sets as values: `Prompt`, `Workload`, the native JSONL format, the content hash.

Knows text, not files: `benchsuite.store.read_workload` reads a path.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request of a set. Exactly one of messages and prompt is given.

    messages: ({"role": ..., "content": ...}, ...). max_output_tokens: None leaves the length to the server.
    reference, scorer: what a good answer is and how to compare; None when unscored. arrival_s: seconds after the
    start, for traces; None in closed loops.
    """

    prompt_id: str
    scenario: str | None
    messages: tuple[dict[str, str], ...] | None
    prompt: str | None
    max_output_tokens: int | None
    reference: str | None = None
    scorer: str | None = None
    arrival_s: float | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Workload:
    """A request set in its own order. content_hash: sha256 of its canonical JSONL."""

    name: str
    prompts: tuple[Prompt, ...]
    content_hash: str
