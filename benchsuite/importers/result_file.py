"""Other tools' result files by pydantic: flat models whose fields say where in the file their value is (`at`).

Null is the same as left out; keys that we do not need are ignored.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AliasChoices, AliasPath, BaseModel, BeforeValidator, ConfigDict, Field

from benchsuite.errors import PointsError, read_json
from benchsuite.strict_model import validated

_INT32 = 2**31 - 1
US_PER_S = 1e6


class ResultModel(BaseModel):
    """Strict: a text is no number, true is not 1; but 4.0 is a whole number."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


def at(*paths: str, default: Any = None) -> Any:
    """A field's place: dotted keys, the first that the file has. default: `...` where it is required."""
    return Field(default, validation_alias=AliasChoices(*(AliasPath(*path.split(".")) for path in paths)))


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Number and Duration are bounded so that sums of what a hostile file holds stay finite.
Number = Annotated[float, Field(ge=-1e15, le=1e15)]
Duration = Annotated[float, Field(ge=0, le=1e15)]
Gap = Annotated[float, Field(ge=0, le=_INT32 / US_PER_S)]  # seconds; stored as 32 bits of microseconds, 36 minutes
Count = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=_INT32)]
Level = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=_INT32)]

Model = TypeVar("Model", bound=BaseModel)


def read_result(text: str) -> Any:
    """The JSON in a text, without its nulls. Raises ValueError."""
    return _without_nulls(read_json(text))


def parse_result(text: str, model: type[Model], *, where: str, if_missing: Mapping[str, str] | None = None) -> Model:
    """The file as a `model`. if_missing: as in `validated`. Raises PointsError naming every mistake with its key."""
    try:
        tree = read_result(text)
    except ValueError as error:
        raise PointsError("the result file is not valid JSON", where=where, given=str(error)) from None
    return validated(model, tree, "the result file", where=where, if_missing=if_missing, error_type=PointsError)


def _without_nulls(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_nulls(value) for key, value in tree.items() if value is not None}
    return [_without_nulls(item) for item in tree] if isinstance(tree, list) else tree


def check_order(**times_s: float | None) -> None:
    """Raise ValueError if the times that are known do not follow one another."""
    known = [(name, at_s) for name, at_s in times_s.items() if at_s is not None]
    for (before, before_s), (after, after_s) in itertools.pairwise(known):
        if after_s < before_s:
            raise ValueError(
                f"times of a request run backwards: {after} is {before_s - after_s:.6f} s before {before}; "
                "was the clock set while the tool measured?"
            )
