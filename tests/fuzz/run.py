"""`make fuzz`: a million hostile inputs for every parser of foreign bytes, and a table of what came of it.

    python -m tests.fuzz.run [--inputs N] [--processes N] [--only WORD] [--out FOLDER]

Inputs are made from seeds, so a run repeats. An input whose parser raised anything but a BenchsuiteError (or anything
at all, for the parsers of a server's answers), took longer than 5 to 10 s of CPU, or ended its process (a crash of a
library) is a finding; it is written to --out.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import mmap
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from tests.fuzz.targets import TARGETS, escape_of

BLOCK = 1000
_TICK_S = 5.0
_CURRENT_BYTES = 2**20
_MEMORY_BYTES = 6 * 2**30


class _TooSlow(BaseException):
    pass


_begun = _seen = 0  # inputs begun in this process, and how many of them when the clock ticked last


def _tick(*_: object) -> None:
    global _seen
    if _begun == _seen:
        raise _TooSlow
    _seen = _begun


def block(name: str, number: int, size: int = BLOCK) -> tuple[int, float, dict[str, bytes]]:
    """Inputs done, CPU seconds, and one input for each place that something escaped from."""
    global _begun
    target, rng = TARGETS[name], random.Random(f"{name}/{number}")
    seeds, found = target.seeds(), {}
    began_s = time.process_time()
    for _ in range(size):
        data = target.mutate(rng, seeds)
        if _current is not None:
            _current[: 8 + len(data)] = len(data).to_bytes(8, "little") + data
        _begun += 1
        error = escape_of(target, data)
        if error is not None:
            if isinstance(error, KeyboardInterrupt):
                raise error
            found.setdefault(_place(error), data)
    _begun += 1
    return size, time.process_time() - began_s, found


def _place(error: BaseException) -> str:
    """The kind of error and the last line of ours that it went through."""
    ours = [
        f for f in traceback.extract_tb(error.__traceback__) if "benchsuite" in f.filename and "tests" not in f.filename
    ]
    at = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "outside"
    return f"{type(error).__name__} at {at}: {str(error)[:60]!r}".replace("\n", " ")


_current: mmap.mmap | None = None  # a file of this process with the input that is tried: what is left of a crash


def _begin(folder: Path) -> None:
    global _current
    with (folder / str(os.getpid())).open("w+b") as file:
        file.truncate(_CURRENT_BYTES)
        _current = mmap.mmap(file.fileno(), _CURRENT_BYTES)
    signal.signal(signal.SIGVTALRM, _tick)
    signal.setitimer(signal.ITIMER_VIRTUAL, _TICK_S, _TICK_S)  # a call for each input costs as much as a small parser
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    os.nice(5)


def _work(job: tuple[str, int, int]) -> tuple[int, float, dict[str, bytes]]:
    return block(*job)


def fuzz(name: str, numbers: range, size: int, processes: int, method: str) -> tuple[int, float, dict[str, bytes]]:
    """Blocks of one parser, in processes of their own: inputs done, CPU seconds, findings by place."""
    context, inputs, cpu_s, found = multiprocessing.get_context(method), 0, 0.0, {}
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        try:
            with ProcessPoolExecutor(processes, context, _begin, (Path(folder),)) as pool:
                for n, seconds, there in pool.map(_work, ((name, number, size) for number in numbers), chunksize=4):
                    inputs, cpu_s, found = inputs + n, cpu_s + seconds, there | found
        except BrokenProcessPool:  # one died, and the pool ended the others: whose input does it again?
            for path in Path(folder).iterdir():
                kept = path.read_bytes()
                data = kept[8 : 8 + int.from_bytes(kept[:8], "little")]
                alone = context.Process(target=_alone, args=(name, data))
                alone.start()
                alone.join()
                if alone.exitcode:
                    found[f"its process ended with {alone.exitcode}; the rest was not tried"] = data
            if not found:
                found["a process died, but does not again; the rest was not tried"] = b""
    return inputs, cpu_s, found


def _alone(name: str, data: bytes) -> None:
    escape_of(TARGETS[name], data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="for each parser")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="parsers whose name holds this word")
    parser.add_argument("--first", type=int, default=0, help="the block of 1,000 inputs to begin with")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"), help="folder for inputs that were findings")
    asked = parser.parse_args()
    names = [name for name in TARGETS if asked.only in name]
    print(f"{'parser':18} {'inputs':>10} {'findings':>8} {'CPU s':>8} {'s':>7}", flush=True)
    total, began_s = 0, time.monotonic()
    gc.freeze()  # what is imported; processes are forked, for the imports take seconds
    for name in names:
        started_s = time.monotonic()
        wanted = max(1, round(asked.inputs * TARGETS[name].share))
        numbers = range(asked.first, asked.first + -(-wanted // BLOCK))
        inputs, cpu_s, found = fuzz(name, numbers, min(BLOCK, wanted), asked.processes, "fork")
        total += len(found)
        took_s = time.monotonic() - started_s
        print(f"{name:18} {inputs:10,} {len(found):8} {cpu_s:8.1f} {took_s:7.1f}", flush=True)
        for place, data in found.items():
            print(f"    {place}: {_keep(asked.out, name, data)}", flush=True)
    print(f"{total} findings, {time.monotonic() - began_s:.0f} s", flush=True)
    return 1 if total else 0


def _keep(folder: Path, name: str, data: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name.replace(' ', '-')}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path


if __name__ == "__main__":
    sys.exit(main())
