"""Containers of request sets: the bytes of a file as rows with their numbers. The content decides, not the name.

Reads piece by piece where the container allows: JSON lines, JSON arrays and objects one after another, CSV and lines of
text, packed or not, and Parquet by row groups. What a row means is for `benchsuite.workload.formats`.
"""

from __future__ import annotations

import bz2
import codecs
import contextlib
import csv
import gzip
import io
import json
import lzma
import re
import shlex
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from itertools import chain, islice
from typing import Any, BinaryIO, NamedTuple, cast

from benchsuite.errors import WorkloadError, read_json
from benchsuite.limits import most

_HEAD = 1 << 16  # characters that decide what a text is
_PIECE = 1 << 20
_LONGEST = most("row_chars")  # what is packed may be of any length
_SEPARATOR = re.compile(r"sep=.?", re.I)  # Excel's line before the header
_DELIMITERS = {",": "CSV", ";": "CSV with semicolons", "\t": "TSV", "|": "CSV with bars"}
_NAMED_MARKUP = {"yaml": "YAML", "yml": "YAML", "toml": "TOML"}
_KEY = r"""["']?(?P<key>[A-Za-z_][\w.-]*)["']?"""
_MARKUP = {  # how its lines at the margin begin, and what lines of text have not
    "YAML": (re.compile(rf"- |-$|---|{_KEY}:( |$)"), re.compile(r"- |-$|---|\s")),
    "TOML": (re.compile(rf"""\[+[\w."'-]+\]+\s*$|[\]}}"']|{_KEY}\s*=\s*\S"""), re.compile(r"\[")),
}
_BOMS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16",
         codecs.BOM_UTF16_BE: "utf-16"}  # fmt: skip
_REFUSED = {
    b"PK\x03\x04": "a ZIP archive or an Excel file",
    b"SQLite format 3": "an SQLite database",
    b"\x80": "a Python pickle",
    b"%PDF": "a PDF document",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself (git lfs pull brings it)",
}


class Container(NamedTuple):
    """The kind of a file. rows: (number, plain data), a ValueError in the place of data that cannot be read."""

    what: str
    unit: str  # of the numbers: line or row
    rows: Iterator[tuple[int, Any]]


class _Unreadable(ValueError):
    """Why the file is no request set, on which line, and what makes a file of it that can be read."""

    def __init__(self, why: str, line: int | None = None, hint: str | None = None) -> None:
        super().__init__(why)
        self.line, self.hint = line, hint


class _NotUtf8(_Unreadable):
    """why: the byte."""


def _arrow_unpacked(codec: str, file: Any) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(file, "r"), codec)


_PACKED: dict[bytes, tuple[str, Callable[[Any], Any]]] = {
    b"\x1f\x8b": ("gzip", lambda file: gzip.GzipFile(fileobj=file, mode="rb")),
    b"BZh": ("bzip2", bz2.BZ2File),
    b"\xfd7zXZ\x00": ("xz", lzma.LZMAFile),
    b"\x28\xb5\x2f\xfd": ("zstd", partial(_arrow_unpacked, "zstd")),
    b"\x04\x22\x4d\x18": ("lz4", partial(_arrow_unpacked, "lz4")),
}


def open_rows(file: BinaryIO, name: str, known: Collection[str]) -> Container:
    """The rows of a file. name: of the file, for errors and where its ending tells CSV from text; known: columns that
    make a header. Raises WorkloadError for what is no request set; reading the rows may raise it too.
    """
    packed: list[str] = []
    reader = io.BufferedReader(cast(Any, file), _HEAD)
    with _named(name, packed):
        while found := next((one for magic, one in _PACKED.items() if reader.peek(8).startswith(magic)), None):
            if len(packed) == 3:
                raise _Unreadable("packed more than three times")
            packed.append(found[0])
            reader = io.BufferedReader(found[1](reader), _HEAD)
        what, unit, rows = _container(reader, name, known, seekable=not packed and reader.seekable())
    return Container(" in ".join([what, *reversed(packed)]), unit, _guarded(rows, name, packed))


def _guarded(rows: Iterator[tuple[int, Any]], name: str, packed: list[str]) -> Iterator[tuple[int, Any]]:
    with _named(name, packed):
        yield from rows


@contextlib.contextmanager
def _named(name: str, packed: list[str]) -> Iterator[None]:
    """What cannot be read in the block as a WorkloadError that names the file."""
    try:
        yield
    except _NotUtf8 as error:
        raise WorkloadError(
            "the workload file is not UTF-8 text",
            where=f"{name}:{error.line}",
            given=str(error),
            expected="UTF-8 (or UTF-16 with its byte order mark)",
            hint=f"iconv -f WINDOWS-1252 -t UTF-8 {name} > utf8.txt, with the encoding that it has",
        ) from None
    except (ValueError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        given, why = " in ".join(reversed(packed)) or None, error if isinstance(error, _Unreadable) else None
        damage = f"the {given or 'plain'} file is cut off or damaged: {error}"
        forms = "JSON lines, a JSON array, CSV, TSV, Parquet, Arrow or lines of text"
        raise WorkloadError(
            f"the workload file cannot be read: {why or damage}",
            where=f"{name}:{why.line}" if why and why.line else name,
            given=given,
            expected=f"{forms}; packed by gzip, zstd, xz or not",
            hint=why.hint if why else None,
        ) from None


def _container(file: io.BufferedReader, name: str, known: Collection[str], *, seekable: bool) -> Container:
    head = file.peek(512)
    if head.startswith((b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")):
        what = "Parquet" if head.startswith(b"PAR1") else "Arrow"
        return Container(what, "row", _arrow_rows(file if seekable else io.BytesIO(file.read()), what))
    if refused := next((what for magic, what in _REFUSED.items() if head.startswith(magic)), None):
        raise _Unreadable(f"it is {refused}")
    if head[257:262] == b"ustar":
        raise _Unreadable("it is a tar archive; unpack it and give one file of it")
    encoding = next((encoding for bom, encoding in _BOMS.items() if head.startswith(bom)), "utf-8-sig")
    if encoding == "utf-8-sig" and b"\0" in head:
        zeros = [half.count(0) > len(half) / 3 for half in (head[::2], head[1::2])]
        if zeros[0] == zeros[1]:
            raise _Unreadable("it is binary: there are zero bytes in it")
        encoding = "utf-16-be" if zeros[0] else "utf-16-le"
    pieces = _decoded(file, encoding)
    start = ""
    for piece in pieces:
        start += piece
        if len(start) >= _HEAD:
            break
    return _text(chain([start], pieces), start, name, known)


def _decoded(file: BinaryIO, encoding: str) -> Iterator[str]:
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)
    read, lines = 0, 1
    while True:
        data = file.read(_PIECE)
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            at = read + len(data) - len(error.object) + error.start
            line = lines + error.object.count(b"\n", 0, error.start)
            raise _NotUtf8(f"byte 0x{error.object[error.start]:02x} at offset {at}", line) from None
        read, lines = read + len(data), lines + text.count("\n")
        if text:
            yield text
        if not data:
            return


def _lines(pieces: Iterable[str]) -> Iterator[str]:
    # Not splitlines(): it also splits at U+2028 and others, which JSON allows inside a string.
    rest: list[str] = []
    for piece in pieces:
        head, newline, tail = piece.partition("\n")
        rest.append(head)
        if newline:
            yield "".join(rest)
            *whole, last = tail.split("\n")
            yield from whole
            rest = [last]
        elif sum(map(len, rest)) > _LONGEST:
            raise _Unreadable(f"a line has more than {_LONGEST:,} characters")
    yield "".join(rest)


def _text(pieces: Iterator[str], start: str, name: str, known: Collection[str]) -> Container:
    ending = re.sub(r"\.(gz|gzip|zst|zstd|bz2|xz|lz4)$", "", name.lower()).rpartition(".")[2]
    filled = list(islice((line.strip() for line in start.split("\n") if line.strip()), 2))
    if filled and _SEPARATOR.fullmatch(filled[0]):
        filled.pop(0)
    first, second = [*filled, "", ""][:2]
    if re.match(r"<(!doctype|html|\?xml)", first, re.I) or ending == "xml":
        raise _Unreadable("it is an HTML or XML page, as a download gives that asks for a login")
    value = _loaded(first)
    broken = isinstance(value, ValueError)
    json_named = ending in ("json", "jsonl", "ndjson")
    markup = _NAMED_MARKUP.get(ending) or (_markup(start, known) if broken else None)
    if markup:
        hint = f"yq -p {markup.lower()} -o json {shlex.quote(name)} > set.json"
        raise _Unreadable(f"it seems to be {markup}", hint=hint)
    # a text such as `[INST] ...` or `{name} asks`, where the name does not say otherwise
    as_text = broken and not json_named and re.match(r"[\[{]\s*[^\W\d]", first) is not None
    if first[:1] == "[" and not as_text:
        if not broken and second[:1] == "[":
            return Container("JSON lines", "line", _json_lines(pieces))
        return Container("a JSON array", "row", _json_values(pieces, in_array=True))
    if first[:1] == "{" and not as_text:
        by_line = not broken or first.rstrip(", ")[-1:] == "}" or isinstance(_loaded(second), dict)
        if by_line or len(first) > _HEAD - 2:
            return Container("JSON lines", "line", _json_lines(pieces))
        return Container("JSON objects", "line", _json_values(pieces, in_array=False))
    headers = {delimiter: _cells(first, delimiter) for delimiter in _DELIMITERS}
    best = max(headers, key=lambda one: (sum(cell in known for cell in headers[one]), len(headers[one])))
    if first and not json_named and (ending in ("csv", "tsv") or any(cell in known for cell in headers[best])):
        # a table of one column has no delimiter: its texts may hold commas
        return Container(_DELIMITERS[best], "line", _csv_rows(pieces, best if len(headers[best]) > 1 else "\x1f"))
    if json_named or (not broken and isinstance(value, str)) or isinstance(_loaded(second), dict):
        return Container("JSON lines", "line", _json_lines(pieces))
    return Container("lines of text", "line", ((n, line) for n, line in enumerate(_lines(pieces), 1) if line.strip()))


def _markup(start: str, known: Collection[str]) -> str | None:
    """What a text is whose every line at the margin is an item or a key of YAML or TOML; None for other texts."""
    whole = start.split("\n")[: -1 if len(start) >= _HEAD else None]
    lines = [line for line in whole if line.strip() and not line.lstrip().startswith("#")]
    margin = [line for line in lines if not line[0].isspace()]
    for name, (form, sign) in _MARKUP.items():
        found = [form.match(line) for line in margin]
        keys = [match["key"] for match in found if match and match["key"]]
        signed = any(map(sign.match, lines)) or (keys and column_key(keys[0]) in known)
        if len(lines) > 1 and margin and all(found) and signed and (name == "TOML" or len({*keys}) == len(keys)):
            return name
    return None


def _cells(line: str, delimiter: str) -> list[str]:
    return [column_key(cell.strip().strip('"')) for cell in line.split(delimiter)]


def column_key(name: str) -> str:
    """A column's name as the formats spell it: `Request tokens` is request_tokens."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _loaded(text: str) -> Any:
    """The JSON value, or a ValueError that says why it is none."""
    try:
        return _no_surrogates(text, read_json(text))
    except ValueError as error:
        words = f"not valid JSON: {str(error).partition(';')[0]}"
    return ValueError("Python's notation, not JSON: single quotes" if text.startswith("{'") else words)


def _no_surrogates(text: str, value: Any) -> Any:
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("half of a surrogate pair, which is no character") from None
    return value


def _json_lines(pieces: Iterable[str]) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(_lines(pieces), 1):
        if text := line.strip():
            yield number, _loaded(text.rstrip(", "))  # as an array's lines end


_VALUE = re.compile(r"[^\s,]")  # a comma after the last value does no harm


def _json_values(pieces: Iterator[str], *, in_array: bool) -> Iterator[tuple[int, Any]]:
    """The elements of one array, numbered from 1; or values one after another, by the line where each begins."""
    decoder = json.JSONDecoder()
    window, at, line, number, opened, ended = "", 0, 1, 0, not in_array, False
    while True:
        found = _VALUE.search(window, at)
        begin = found.start() if found else len(window)
        line, at = line + window.count("\n", at, begin), begin
        if at < len(window):
            if not opened:
                opened, at = True, at + 1
                continue
            if in_array and window[at] == "]":
                rest = window[at + 1 :].strip() or next((piece for piece in pieces if piece.strip()), "")
                if rest:
                    raise _Unreadable(f"text after the end of the JSON array: {rest[:20]!r}", line)
                return
            try:
                value, end = decoder.raw_decode(window, at)
                if ended or end < len(window):  # else a number may go on
                    number += 1
                    yield number if in_array else line, _no_surrogates(window[at:end], value)
                    line, at = line + window.count("\n", at, end), end
                    continue
            except ValueError as error:
                where = getattr(error, "pos", 0)
                cut_off = where > len(window) - 64 or "Unterminated string" in str(error)
                if ended or not cut_off:
                    words = f"not valid JSON: {getattr(error, 'msg', error)}"
                    raise _Unreadable(
                        f"{words}; {number} values before it", line + window.count("\n", at, where)
                    ) from None
            except RecursionError:
                raise _Unreadable("not valid JSON: nested too deeply", line) from None
        elif ended:
            if in_array:
                raise _Unreadable(f"the JSON array does not end; it has {number} values", line)
            return
        window, at = window[at:], 0
        if len(window) > _LONGEST:
            raise _Unreadable(f"a JSON value has more than {_LONGEST:,} characters", line)
        more = list(islice(pieces, 1 + len(window) // _PIECE))  # twice as much each time
        window, ended = window + "".join(more), not more


def _csv_rows(pieces: Iterable[str], delimiter: str) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(_LONGEST)
    lines = (f"{line}\n" for line in _lines(pieces))
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    header: list[str] | None = None
    while True:
        begin = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise _Unreadable("a quote opens here in the CSV and does not end", begin) from None
            yield begin, ValueError(f"not valid CSV: {error}")
            continue
        if not any(cell.strip() for cell in cells) or (not header and _SEPARATOR.fullmatch(delimiter.join(cells))):
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            if twice := next((name for name, n in Counter(header).items() if name and n > 1), None):
                raise _Unreadable(f"the CSV has two columns {twice!r}", begin)
        elif len(cells) != len(header):
            yield begin, ValueError(f"{len(cells)} cells, where the header has {len(header)}")
        else:
            yield begin, {name: cell for name, cell in zip(header, cells, strict=True) if cell.strip()}


def _arrow_rows(file: Any, what: str) -> Iterator[tuple[int, Any]]:
    import pyarrow as pa

    number = 0
    try:
        if what == "Parquet":
            from pyarrow.parquet import ParquetFile

            batches: Any = ParquetFile(file).iter_batches(batch_size=256)
        else:
            from pyarrow import ipc

            of_file = file.read(6) == b"ARROW1"
            file.seek(0)
            reader = ipc.open_file(file) if of_file else ipc.open_stream(file)
            batches = (reader.get_batch(i) for i in range(reader.num_record_batches)) if of_file else reader
        for number, row in enumerate((row for batch in batches for row in batch.to_pylist()), 1):
            yield number, row
    except (pa.ArrowException, OSError) as error:
        after = f" after row {number}" if number else ""
        raise _Unreadable(f"it seems to be {what}, damaged{after}: {error}") from None


def json_cell(key: str, text: str) -> Any:
    """The JSON in a cell of a table of texts."""
    try:
        return read_json(text)
    except ValueError:
        raise ValueError(f"{key}: {text[:40]!r} is not a JSON value") from None
