"""A person's file as frozen pydantic models that take no unknown key, and its mistakes as text."""

from __future__ import annotations

import copy
import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError, field_validator

from benchsuite.errors import InputError, SpecError, did_you_mean, read_toml, shown
from benchsuite.limits import most

MISTAKES_SHOWN = 20
# the most of any number, the least of one with a fraction that is not 0
MOST, LEAST = 10**15, 1e-12
# the most of one that is a row's column, an item in memory, a timeout of the system's
MOST_COUNT, MOST_ITEMS, MOST_S = 2**31 - 1, 10_000_000, 1_000_000
PERCENT = r"(100(\.0*)?|\d{1,2}(\.\d+)?)%"
Model = TypeVar("Model", bound=BaseModel)
Item = TypeVar("Item")


class FirstMistake(FailFast):
    """Of a list that others may send: a mistake in each of millions of items takes all memory."""

    __hash__ = object.__hash__  # as a part of a union must have


Items = Annotated[list[Item], FirstMistake()]


class StrictModel(BaseModel):
    """A frozen table that knows its keys and takes no others."""

    # defer_build: most of what imports a model validates nothing by it
    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, allow_inf_nan=False)

    def __init_subclass__(cls, flags: str | None = None) -> None:
        super().__init_subclass__()

    @field_validator("*")
    @classmethod
    def _of_a_size(cls, value: Any) -> Any:
        if isinstance(value, float) and value and not LEAST <= abs(value) <= MOST:
            raise ValueError(f"should be 0, or {LEAST:g} to {MOST:g}")
        return value

    @classmethod
    def __pydantic_init_subclass__(cls, flags: str | None = None, **_: Any) -> None:
        """flags: how the flags of the keys begin that do not say theirs; None: those have none."""
        for name, info in cls.model_fields.items():
            more: dict[str, Any] = dict(info.json_schema_extra) if isinstance(info.json_schema_extra, dict) else {}
            usual = flags + name.replace("_", "-") if flags and table_in(info.annotation) is None else ""
            if flag := more.pop("x-flag", usual):
                more = {"x-flag": flag, **more}
            info.json_schema_extra = more or None


def key(
    default: Any,
    meaning: str,
    flag: str | None = None,
    *,
    unset: str | None = None,
    example: Any = None,
    outside: bool = False,
    **checks: Any,
) -> Any:
    """A key, or a table of keys. default: ... where the key is required.

    flag: as click takes it; "" for none, None for the usual one of the model. unset: what holds where the key is left
    out, if the default does not tell. example: a value for the commented file, where the default is none. outside: it
    names a server, a file or a secret, or decides what reaches them; no run folder does that (`spec.named_outside`).
    """
    extra: dict[str, Any] = {
        name: value for name, value in (("x-flag", flag), ("x-default", unset)) if value is not None
    } | ({"x-outside": True} if outside else {})
    if checks.keys() & {"ge", "gt"} and not checks.keys() & {"le", "lt"}:
        checks["le"] = MOST
    examples = None if example is None else [example]
    return Field(default, description=meaning, examples=examples, json_schema_extra=extra or None, **checks)


def read_text(
    path: Path,
    what: str,
    *,
    expected: str | None = None,
    error_type: type[InputError] = InputError,
    seen: Callable[[bytes], object] = len,
) -> str:
    """The text of a file that a person names, read once: it may be a pipe.

    what: how to call it. expected: said where it does not exist. seen: is given its bytes. Raises error_type.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most("file_bytes") + 1)
        if len(content) > most("file_bytes"):
            raise error_type(f"{what} is too long", where=str(path), expected=f"at most {most('file_bytes'):,} bytes")
        seen(content)
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        given = f"byte 0x{error.object[error.start]:02x} at offset {error.start}"
        raise error_type(f"{what} is not UTF-8 text", where=f"{path}:{line}", given=given, expected="UTF-8") from None
    except FileNotFoundError:
        raise error_type(f"{what} does not exist", where=str(path), expected=expected) from None
    except (OSError, ValueError) as error:  # ValueError: of a name with NUL
        reason = error.strerror if isinstance(error, OSError) else error
        raise error_type(f"{what} cannot be read", where=str(path), given=reason) from None


def read_tables(
    what: str, path: Path | None, overrides: Mapping[str, Any], base: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The TOML in `path` (None: `base`, or nothing) with `overrides` on top: dotted keys, None means not given.

    Raises SpecError, which calls the file `what`.
    """
    tree: dict[str, Any] = copy.deepcopy(dict(base or {}))
    if path is not None:
        text = read_text(path, f"{what} file", expected="a TOML file", error_type=SpecError)
        try:
            tree = read_toml(text)
        except ValueError as error:
            raise SpecError(f"{what} is not valid TOML", where=str(path), given=error) from None
    for key, value in overrides.items():
        if value is None:
            continue
        *parents, leaf = key.split(".")
        node = tree
        for parent in parents:
            if node.get(parent) is None:  # a saved spec says null where a table was left out
                node[parent] = {}
            node = node[parent]
            if not isinstance(node, dict):
                raise SpecError(f"{parent!r} is a table", where=str(path), given=repr(node))
        node[leaf] = value
    return tree


def validated(
    model: type[Model],
    tree: Any,
    what: str,
    *,
    where: str,
    expected: str | None = None,
    if_missing: Mapping[str, str] | None = None,
    error_type: type[InputError] = SpecError,
) -> Model:
    """Plain data as a `model`. what: how to call it. if_missing: by key, what to do where a required one is missing.

    Raises error_type naming every mistake: its place, what is wrong, what was given, and the nearest valid key.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        lines = _mistakes(error, model, if_missing or {})
        raise error_type(mistake_text(what, lines), where=where, expected=expected) from None


def mistake_text(what: str, lines: Sequence[str]) -> str:
    """`WHAT has 2 mistakes:` and the first of them, a line each."""
    more = [f"and {len(lines) - MISTAKES_SHOWN} more"] if len(lines) > MISTAKES_SHOWN else []
    return "\n    ".join([f"{what} has {len(lines)} mistake{'s' * (len(lines) > 1)}:", *lines[:MISTAKES_SHOWN], *more])


def refuse_lines(
    what: str,
    mistakes: Sequence[tuple[int, str]],
    *,
    where: str,
    expected: str | None = None,
    error_type: type[InputError] = InputError,
) -> None:
    """Raises error_type where there are mistakes, each with the number of its line."""
    if mistakes:
        lines = [f"line {number}: {mistake}" for number, mistake in mistakes]
        raise error_type(mistake_text(what, lines), where=f"{where}:{mistakes[0][0]}", expected=expected)


def parse_json_lines(
    text: str, model: type[Model], read: Callable[[str], Model]
) -> tuple[dict[int, Model], list[tuple[int, str]]]:
    """The objects of a text with one on each line, by line number, and the mistakes with theirs.

    Blank lines are skipped. read: one line as a model; raises ValueError, or ValidationError.
    """
    items: dict[int, Model] = {}
    mistakes: list[tuple[int, str]] = []
    # Not splitlines(): it also splits at U+2028 and others, which JSON allows inside a string.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            items[number] = read(line)
        except ValidationError as error:
            mistakes += [(number, mistake) for mistake in _mistakes(error, model, {})]
        except ValueError as error:
            mistakes.append((number, f"not valid JSON: {error}"))
    return items, mistakes


def parse_csv(
    text: str, model: type[Model], what: str, *, where: str, expected: str, error_type: type[InputError] = InputError
) -> dict[int, Model]:
    """The rows of a CSV table by line number. An empty cell is left out; columns that are not in the model are ignored.

    what: how to call the table. Raises error_type naming every mistake with its line.
    """
    rows: dict[int, Model] = {}
    mistakes: list[tuple[int, str]] = []
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        reader.fieldnames = header = [name.strip() for name in reader.fieldnames or ()]
        missing = [name for name, field in model.model_fields.items() if field.is_required() and name not in header]
        if missing:
            given = ", ".join(header) or "an empty file"
            raise error_type(
                f"{what} lacks columns: {', '.join(missing)}", where=f"{where}:1", given=given, expected=expected
            )
        for row in reader:
            number = reader.line_num
            if None in row or None in row.values():
                mistakes.append((number, "the number of cells differs from the header"))
                continue
            cells = {name: cell.strip() for name, cell in row.items() if name in model.model_fields and cell.strip()}
            try:
                rows[number] = row_model = model.model_validate(cells)
                row_model.model_fields_set.clear()  # nobody asks, and it takes as much memory as the values
            except ValidationError as error:
                mistakes += [(number, mistake) for mistake in _mistakes(error, model, {})]
    except csv.Error as error:
        raise error_type(f"{what} is not valid CSV", where=f"{where}:{reader.line_num}", given=error) from None
    refuse_lines(what, mistakes, where=where, expected=expected, error_type=error_type)
    return rows


def without_url_secrets(given: str) -> str:
    """What was given, without what a URL may carry besides its host: user, password, query."""
    return re.sub(r"\?[^'\"\s]*", "?***", re.sub(r"//[^/@\s]*@", "//***@", given)) if "//" in given else given


def _mistakes(error: ValidationError, model: type[BaseModel], if_missing: Mapping[str, str]) -> list[str]:
    """A line for each; of those that are only counted an empty one."""
    items = error.errors(include_url=False)
    shown_items = items[:MISTAKES_SHOWN]
    return [_mistake(item, model, if_missing) for item in shown_items] + [""] * (len(items) - len(shown_items))


def _mistake(item: Any, model: type[BaseModel], if_missing: Mapping[str, str]) -> str:
    path = ".".join(str(step) for step in item["loc"]) or "top level"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "missing":
        hint = f" ({if_missing[path]})" if path in if_missing else ""
        return f"{path}: required but missing{hint}"
    if item["type"] == "extra_forbidden":
        nearest = did_you_mean(str(item["loc"][-1]), _keys_at(item["loc"][:-1], model))
        return f"{path}: unknown key" + (f"; {nearest}" if nearest else "")
    if item["type"] == "literal_error" and isinstance(item["input"], str):
        nearest = did_you_mean(item["input"], re.findall(r"'(.*?)'", item["ctx"]["expected"]))
        if nearest:
            return f"{path}: {message} (given {item['input']!r}); {nearest}"
    # never what may hold a secret
    if isinstance(item["input"], dict) or path.endswith(
        ("api_key_env", ".headers", ".query", ".path", ".extra_body", "_kwargs")
    ):
        return f"{path}: {message}"
    given = str(shown(item["input"], repr))
    return f"{path}: {message} (given {without_url_secrets(given if len(given) <= 200 else given[:197] + '...')})"


def _keys_at(path: tuple[Any, ...], model: type[BaseModel]) -> list[str]:
    """The keys of the table at `path`, in which are also places in lists of tables, and names of tables in dicts."""
    for step in path:
        fields = {info.alias or name: info for name, info in model.model_fields.items()}
        if step in fields:
            table = table_in(fields[step].annotation)
            if table is None:
                return []
            model = table
    return [info.alias or name for name, info in model.model_fields.items()]


def table_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((table for part in get_args(annotation) if (table := table_in(part))), None)
