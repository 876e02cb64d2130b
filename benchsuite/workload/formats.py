"""Formats of request sets: each a function from a file's text to prompts, and an entry in FORMATS.

Native is one JSON object per line, with the keys of `NativeLine`. All but messages/prompt may be left out; null is the
same as left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from benchsuite.errors import WorkloadError
from benchsuite.strict_model import StrictModel, parse_json_lines, refuse_lines
from benchsuite.workload.dataset import Prompt, Workload, make_workload

Text = Annotated[str, Field(min_length=1)]


class Message(StrictModel):
    model_config = ConfigDict(strict=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: str


class NativeLine(StrictModel):
    """One line of native JSONL; but for `id`, the fields of `Prompt`."""

    model_config = ConfigDict(strict=True)

    id: Text | None = None
    scenario: Text | None = None
    messages: Annotated[list[Message], Field(min_length=1)] | None = None
    prompt: Text | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    reference: Text | None = None
    scorer: Text | None = None
    arrival_s: Annotated[float, Field(ge=0), AfterValidator(lambda at_s: at_s + 0.0)] | None = None  # -0.0 becomes 0.0
    tags: list[Text] | None = None
    input_tokens: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _chat_or_completion(self) -> NativeLine:
        if (self.messages is None) == (self.prompt is None):
            raise ValueError("exactly one of messages (chat) and prompt (completions) is required")
        return self


def read_native(text: str, where: str) -> list[Prompt]:
    """The prompts of native JSONL. Blank lines are skipped; a prompt without id is called `line-N`."""
    items, mistakes = parse_json_lines(text, NativeLine, NativeLine.model_validate_json)
    prompts: list[Prompt] = []
    lines_of_ids: dict[str, int] = {}
    for number, item in items.items():
        prompt_id = item.id or f"line-{number}"
        if lines_of_ids.setdefault(prompt_id, number) != number:
            mistakes.append((number, f"id: {prompt_id!r} is used before, on line {lines_of_ids[prompt_id]}"))
        values = item.model_dump(exclude={"id"}, exclude_none=True).items()
        given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values}
        prompts.append(Prompt(prompt_id, **given))
    expected = "one JSON object per line, with the keys " + ", ".join(NativeLine.model_fields)
    refuse_lines("the request set", mistakes, where=where, expected=expected, error_type=WorkloadError)
    return prompts


FORMATS: dict[str, Callable[[str, str], list[Prompt]]] = {"native": read_native}


def parse_workload(text: str, *, where: str, name: str | None = None, format_name: str = "native") -> Workload:
    """The workload in a file's text. where: the file, for errors; name: None takes `where`.

    Raises WorkloadError naming every mistake with its line, or if there is no prompt at all.
    """
    prompts = FORMATS[format_name](text, where)
    if not prompts:
        raise WorkloadError("the workload is empty", where=where, expected="at least one request")
    return make_workload(name if name is not None else where, prompts)
