"""Containers of request sets: the bytes of a file as rows with their numbers. The content decides, not the name.

Reads piece by piece where the container allows: JSON lines, JSON arrays and objects one after another, CSV and lines of
text, packed or not, and Parquet by row groups. What a row means is for `benchsuite.workload.formats`.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain, islice
from typing import Any, BinaryIO, NamedTuple

from benchsuite.errors import WorkloadError

_HEAD = 1 << 16  # characters that decide what a text is
_PIECE = 1 << 20
_LONGEST = 1 << 28  # of one row, in characters: what is packed may be of any length
_SEPARATOR = re.compile(r"sep=.?", re.I)  # Excel's line before the header
_DELIMITERS = {",": "CSV", ";": "CSV with semicolons", "\t": "TSV", "|": "CSV with bars"}
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
    """What a file is. rows: (number, plain data), a ValueError in the place of data that cannot be read."""

    what: str
    unit: str  # of the numbers: line or row
    rows: Iterator[tuple[int, Any]]


class _Raw(io.RawIOBase):
    """Anything with read(n) as a raw stream; what it raises about damage is a ValueError."""

    def __init__(self, read: Callable[[int], bytes], what: str) -> None:
        self._read, self._what = read, what

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._read(len(buffer))
        except (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
            raise ValueError(f"{self._what} is cut off or damaged: {error}") from None
        buffer[: len(data)] = data
        return len(data)


def _buffered(read: Callable[[int], bytes], what: str) -> io.BufferedReader:
    return io.BufferedReader(_Raw(read, what), _HEAD)


def _arrow_unpacked(codec: str) -> Callable[[BinaryIO], Callable[[int], bytes]]:
    def opened(file: BinaryIO) -> Callable[[int], bytes]:
        import pyarrow as pa

        read: Callable[[int], bytes] = pa.CompressedInputStream(pa.PythonFile(file, "r"), codec).read
        return read

    return opened


_PACKED: dict[bytes, tuple[str, Callable[[BinaryIO], Callable[[int], bytes]]]] = {
    b"\x1f\x8b": ("gzip", lambda file: gzip.GzipFile(fileobj=file).read),
    b"BZh": ("bzip2", lambda file: bz2.BZ2File(file).read),
    b"\xfd7zXZ\x00": ("xz", lambda file: lzma.LZMAFile(file).read),  # noqa: SIM115
    b"\x28\xb5\x2f\xfd": ("zstd", _arrow_unpacked("zstd")),
    b"\x04\x22\x4d\x18": ("lz4", _arrow_unpacked("lz4")),
}


def open_rows(file: BinaryIO, name: str, known: Collection[str]) -> Container:
    """The rows of a file. name: of the file, for errors and where its ending tells CSV from text; known: columns that
    make a header. Raises WorkloadError for what is no request set; reading the rows may raise it too.
    """
    packed: list[str] = []
    reader = _buffered(file.read, "the file")
    try:
        while found := next((one for magic, one in _PACKED.items() if reader.peek(8).startswith(magic)), None):
            if len(packed) == 3:
                raise ValueError("packed more than three times")
            packed.append(found[0])
            reader = _buffered(found[1](reader), f"the {found[0]} file")
        what, unit, rows = _container(reader, file if not packed and file.seekable() else None, name, known)
    except ValueError as error:
        raise _unreadable(error, name, packed) from None
    return Container(" in ".join([what, *reversed(packed)]), unit, _guarded(rows, name, packed))


def _guarded(rows: Iterator[tuple[int, Any]], name: str, packed: list[str]) -> Iterator[tuple[int, Any]]:
    try:
        yield from rows
    except ValueError as error:
        raise _unreadable(error, name, packed) from None


def _unreadable(error: ValueError, name: str, packed: list[str]) -> WorkloadError:
    line = getattr(error, "line", None)
    if isinstance(error, UnicodeError):
        return WorkloadError(
            "the workload file is not UTF-8 text",
            where=f"{name}:{line}" if line else name,
            given=error.args[-1],
            expected="UTF-8 (or UTF-16 with its byte order mark)",
            hint=f"iconv -f WINDOWS-1252 -t UTF-8 {name} > utf8.txt, with the encoding that it has",
        )
    return WorkloadError(
        f"the workload file cannot be read: {error}",
        where=f"{name}:{line}" if line else name,
        given=" in ".join(reversed(packed)) or None,
        expected="JSON lines, a JSON array, CSV, TSV, Parquet, Arrow or lines of text; packed by gzip, zstd, xz or not",
    )


def _at(line: int, words: str) -> ValueError:
    error = ValueError(words)
    error.line = line  # type: ignore[attr-defined]
    return error


def _container(file: io.BufferedReader, whole: BinaryIO | None, name: str, known: Collection[str]) -> Container:
    head = file.peek(512)
    if head.startswith((b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")):
        return _arrow(whole or io.BytesIO(file.read()), head[:4] == b"PAR1")
    if refused := next((what for magic, what in _REFUSED.items() if head.startswith(magic)), None):
        raise ValueError(f"it is {refused}")
    if head[257:262] == b"ustar":
        raise ValueError("it is a tar archive; unpack it and give one file of it")
    boms = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
    boms |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
    encoding = next((encoding for bom, encoding in boms.items() if head.startswith(bom)), "utf-8-sig")
    if encoding == "utf-8-sig" and b"\0" in head:
        zeros = [half.count(0) > len(half) / 3 for half in (head[::2], head[1::2])]
        if zeros[0] == zeros[1]:
            raise ValueError("it is binary: there are zero bytes in it")
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
            odd = UnicodeError(f"byte 0x{error.object[error.start]:02x} at offset {at}")
            odd.line = lines + error.object.count(b"\n", 0, error.start)  # type: ignore[attr-defined]
            raise odd from None
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
        elif len(rest) * _PIECE > 4 * _LONGEST or sum(map(len, rest)) > _LONGEST:
            raise ValueError(f"a line has more than {_LONGEST:,} characters")
    yield "".join(rest)


def _text(pieces: Iterator[str], start: str, name: str, known: Collection[str]) -> Container:
    ending = re.sub(r"\.(gz|gzip|zst|zstd|bz2|xz|lz4)$", "", name.lower()).rpartition(".")[2]
    filled = list(islice((line.strip() for line in start.split("\n") if line.strip()), 2))
    if filled and _SEPARATOR.fullmatch(filled[0]):
        filled.pop(0)
    first, second = [*filled, "", ""][:2]
    if re.match(r"<(!doctype|html|\?xml)", first, re.I):
        raise ValueError("it is an HTML or XML page, as a download gives that asks for a login")
    if ending in ("yaml", "yml", "toml", "xml"):
        raise ValueError(f"it is {ending.upper()}")
    value = _loaded(first)
    broken = isinstance(value, ValueError)
    json_named = ending in ("json", "jsonl", "ndjson")
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


def _cells(line: str, delimiter: str) -> list[str]:
    return [column_key(cell.strip().strip('"')) for cell in line.split(delimiter)]


def column_key(name: str) -> str:
    """A column's name as the formats spell it: `Request tokens` is request_tokens."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _loaded(text: str) -> Any:
    """The JSON value, or a ValueError that says why it is none."""
    try:
        value = json.loads(text)
        return _no_surrogates(text, value)
    except ValueError as error:
        words = str(error).partition(";")[0]
    except RecursionError:
        words = "nested too deeply"
    return ValueError(f"not valid JSON: {words}" if text[:2] != "{'" else "Python's notation, not JSON: single quotes")


def _no_surrogates(text: str, value: Any) -> Any:
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("half of a surrogate pair, which is no character") from None
    return value


def _json_lines(pieces: Iterable[str]) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(_lines(pieces), 1):
        text = line.strip()
        if text:
            value = _loaded(text)
            if isinstance(value, ValueError) and text[-1] == ",":
                value = _loaded(text.rstrip(", "))
            yield number, value


_BETWEEN = re.compile(r"[\s,]*")  # a comma after the last value does no harm


def _json_values(pieces: Iterator[str], *, in_array: bool) -> Iterator[tuple[int, Any]]:
    """The elements of one array, numbered from 1; or values one after another, by the line where each begins."""
    decoder = json.JSONDecoder()
    window, at, line, number, opened, ended = "", 0, 1, 0, not in_array, False
    while True:
        begin = _BETWEEN.match(window, at).end()  # type: ignore[union-attr]
        line, at = line + window.count("\n", at, begin), begin
        if at < len(window):
            if not opened:
                opened, at = True, at + 1
                continue
            if in_array and window[at] == "]":
                rest = window[at + 1 :].strip() or next((piece for piece in pieces if piece.strip()), "")
                if rest:
                    raise _at(line, f"text after the end of the JSON array: {rest[:20]!r}")
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
                    raise _at(line + window.count("\n", at, where), f"{words}; {number} values before it") from None
            except RecursionError:
                raise _at(line, "not valid JSON: nested too deeply") from None
        elif ended:
            if in_array:
                raise _at(line, f"the JSON array does not end; it has {number} values")
            return
        window, at = window[at:], 0
        if len(window) > _LONGEST:
            raise _at(line, f"a JSON value has more than {_LONGEST:,} characters")
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
                raise _at(begin, "a quote opens here in the CSV and does not end") from None
            yield begin, ValueError(f"not valid CSV: {error}")
            continue
        if not any(cell.strip() for cell in cells) or (not header and _SEPARATOR.fullmatch(delimiter.join(cells))):
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            if twice := next((name for name in header if name and header.count(name) > 1), None):
                raise _at(begin, f"the CSV has two columns {twice!r}")
        elif len(cells) != len(header):
            yield begin, ValueError(f"{len(cells)} cells, where the header has {len(header)}")
        else:
            yield begin, {name: cell for name, cell in zip(header, cells, strict=True) if cell.strip()}


def _arrow(file: Any, parquet: bool) -> Container:
    import pyarrow as pa

    def rows() -> Iterator[tuple[int, Any]]:
        number = 0
        try:
            for batch in batches:
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"damaged after row {number}: {error}") from None

    try:
        if parquet:
            from pyarrow.parquet import ParquetFile

            batches: Any = ParquetFile(file).iter_batches(batch_size=256)
            return Container("Parquet", "row", rows())
        from pyarrow import ipc

        file.seek(0)
        if file.read(6) == b"ARROW1":
            reader = ipc.open_file(file)
            batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            file.seek(0)
            batches = ipc.open_stream(file)
        return Container("Arrow", "row", rows())
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"it seems to be {'Parquet' if parquet else 'Arrow'}, damaged: {error}") from None
