"""A sweep of a server that is started for it: its address into the spec, its facts into the manifest, its log kept."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchsuite.clock import NS_PER_S, now_ns
from benchsuite.errors import EngineError, InputError, PointsError, RunError, ServerDied, StoreError
from benchsuite.input_files import read_workload
from benchsuite.load.server_probe import request_headers, request_query
from benchsuite.load.sweep import SweepRunner, sweep
from benchsuite.manifest import RunManifest
from benchsuite.progress import SweepResult, View
from benchsuite.redact import single_line
from benchsuite.serving.launch import LaunchedServer, keep_log, launched
from benchsuite.serving.launch_plan import LaunchPlan, parse_serve, refuse_secrets
from benchsuite.serving.process import LOOPBACK, free_port, require_free_port
from benchsuite.spec import SweepSpec, load_spec, parse_spec
from benchsuite.store.files import MANIFEST, write_json
from benchsuite.store.run_folder import read_manifest
from benchsuite.workload.dataset import Workload

_DEATH_WAIT_S = 5.0  # a request fails before the process that failed it is gone; containers take longer


def served_plan(text: str | None, keys: Mapping[str, Any], folder: Path | None = None) -> LaunchPlan | None:
    """The server to start, with a port, as `text` says; None: none.

    keys: what the flags set. folder: of the run, which may be there already: then the port is the same as before if it
    is free, for a server at another address would count as another one. Raises InputError when keys name a server too.
    """
    if text is None:
        return None
    if keys.get("server.base_url"):
        raise InputError(
            "a server is started or it has a base URL, not both",
            where="--serve, --base-url",
            given=text,
            hint="leave --base-url out: the URL is that of the server that is started",
        )
    plan = refuse_secrets(parse_serve(text))
    return plan if plan.port is not None else dataclasses.replace(plan, port=_port_before(folder) or free_port())


def _port_before(folder: Path | None) -> int | None:
    """The port of the server that was started for the run in `folder`; None without one, or if it is taken now."""
    try:
        manifest = None if folder is None else read_manifest(folder)
        url = manifest.spec["server"]["base_url"] if manifest and manifest.launched_server else ""
        port = urlsplit(url).port
        if port is not None:
            require_free_port(port)
    except (PointsError, ValueError, KeyError, TypeError, AttributeError, EngineError):
        return None  # what a folder holds is read, and refused, where it is taken up
    return port


def keys_for_server(keys: Mapping[str, Any], plan: LaunchPlan, spec: Path | None) -> dict[str, Any]:
    """The spec's keys with what the plan says; what a flag set stays.

    spec: a file or a run that says the number of GPUs itself; None: the plan's parallel arguments say it.
    """
    planned = {
        "server.base_url": f"http://{LOOPBACK}:{plan.port}",
        "server.more_base_urls": (),
        "server.model": plan.served_name,
        "server.profile": None if plan.server.speaks else plan.engine,
        "price.gpus": plan.gpus if spec is None else None,
    }
    return {**keys, **{key: value for key, value in planned.items() if keys.get(key) is None}}


def plan_sweep(
    path: Path | None,
    keys: Mapping[str, Any],
    *,
    output: Path | None,
    resume: Path | None,
    serve: str | None,
    search: bool = False,
) -> tuple[SweepSpec, LaunchPlan | None]:
    """The spec in `path` with `keys` on top, and the server to start for it; None: it is there.

    resume: a run folder, whose own spec they are then; but what of it leads out of the folder (`named_outside`) must be
    given anew, for the folder may be anybody's. search: it is a search's, with the table find. Raises InputError.
    """
    if resume is not None and output is not None and resume != output:
        raise InputError("two run folders", where="--output", given=str(output), expected="--resume RUN alone")
    before = None if resume is None else read_manifest(resume)
    if before is not None and (before.spec.get("find") is not None) != search:
        kinds = ("sweep", "search") if search else ("search", "sweep")
        raise InputError(
            f"the run is a {kinds[0]}, and a {kinds[1]} cannot go on with it", where=str(resume),
            hint=before.resume_command(resume or Path()),
        )  # fmt: skip
    plan = served_plan(serve, keys, resume or output)
    keys = keys if plan is None else keys_for_server(keys, plan, path or resume)
    if resume is not None and before is not None and path is None:
        keys = _given_anew(keys, before, resume, plan)
    asked = load_spec(path, keys, None if before is None else before.spec, search=search)
    if asked.find is not None and not search:
        hint = "benchsuite find " + shlex.quote(str(path or ""))
        raise InputError("the table find is of a search, which has no levels of its own", where=str(path), hint=hint)
    return asked, plan


def _given_anew(
    keys: Mapping[str, Any], before: RunManifest, folder: Path, plan: LaunchPlan | None
) -> Mapping[str, Any]:
    """The keys, with the server that OPENAI_BASE_URL names where it is the run's. Raises InputError for what lacks."""
    asked, named, ours = parse_spec(before.spec, where=str(folder)), before.named_outside(), os.environ
    if keys.get("server.base_url") is None and not asked.server.more_base_urls:
        with contextlib.suppress(InputError):
            tree = {"server": {"base_url": ours.get("OPENAI_BASE_URL")}}
            if parse_spec(tree, where="OPENAI_BASE_URL").server.base_url == asked.server.base_url:
                keys = {**keys, "server.base_url": asked.server.base_url}
    given = {key for key, value in keys.items() if value is not None}
    if plan is not None or "server.base_url" in given:  # which of both it was is compared with all else
        given.add("--serve")
    lacking = [word for key, words in named.items() if key not in given for word in words]
    if lacking:
        key = asked.server.api_key_env
        raise InputError(
            "a run folder is not trusted to name a server, program, file or secret: give again what this run used",
            where=str(folder / MANIFEST),
            given=single_line(shlex.join(lacking)) + f"; ${key} is set: its key is sent to the server" * (key in ours),
            expected="these flags, if the folder is yours or you trust what they name",
            hint=before.resume_command(folder),
        )
    return keys


def run_sweep(
    spec: SweepSpec,
    plan: LaunchPlan | None,
    output: Path | None,
    view: View,
    *,
    ready_timeout_s: float | None = None,
    runner: Callable[..., SweepRunner] = SweepRunner,
) -> SweepResult:
    """Measure what `plan_sweep` gave. runner: of a search FindRunner. Raises InputError or RunError; finished points
    stay."""
    workload = read_workload(spec.workload, spec.load.random_seed)
    for line in [] if workload.reading is None else workload.reading.lines():
        view.note(line)
    if plan is None:
        return sweep(spec, workload, output, view, runner=runner)
    request_headers(spec), request_query(spec)  # a secret that is not there ends it before a model is loaded
    return sweep_launched(plan, lambda _: spec, workload, output, view, ready_timeout_s=ready_timeout_s, runner=runner)


def sweep_launched(
    plan: LaunchPlan,
    spec_of: Callable[[LaunchedServer], SweepSpec],
    workload: Workload,
    output: Path | None,
    view: View,
    *,
    ready_timeout_s: float | None = None,
    log_path: Path | None = None,
    runner: Callable[..., SweepRunner] = SweepRunner,
) -> SweepResult:
    """Start the server of `plan`, sweep it, stop it. spec_of: the spec for the server that is ready.

    The server's log is log_path, or kept in the run folder (`keep_log`). A server that dies on the way leaves failed
    rows; the points finished before stand. Raises what `launched` and `sweep` raise, and ServerDied with the end of its
    log.
    """
    paths: list[Path] = []
    died_ns: list[int] = []  # when the server ended, on the run's clock
    with launched(
        plan,
        log_path=log_path,
        ready_timeout_s=ready_timeout_s,
        on_wait=lambda text: view.note(f"{plan.engine}: {text}"),
    ) as server:
        view.note(f"{server.version or plan.engine} is ready at {server.base_url}; its log: {server.process.log_path}")

        def wait_for_its_end() -> None:
            server.process.child.wait()
            died_ns.append(now_ns())

        threading.Thread(target=wait_for_its_end, daemon=True).start()
        failure: RunError | None = None
        try:
            result = sweep(spec_of(server), workload, output, view, server, on_begun=paths.append, runner=runner)
            if server.process.exit_code() is None:
                return result
        except StoreError:
            raise  # a full disk is no fault of the server
        except RunError as error:
            if server.process.exit_code(_DEATH_WAIT_S) is None:
                raise
            failure = error
        finally:
            if paths and log_path is None:
                keep_log(server, paths[0])
        for path in paths:
            mark_invalid(path, died_ns[0] if died_ns else None, last=failure is not None)
        died = server.process.died("the server died during the measurement" + (f": {failure.what}" if failure else ""))
        kept = f"the points finished before are kept in {paths[0]}, and the server's log with them" if paths else None
        raise ServerDied(died.what, where=died.where, given=died.given, hint=kept) from failure


def mark_invalid(path: Path, died_ns: int | None, *, last: bool) -> None:
    """A point that the server did not live through is no measurement: its failed rows stay, a resume renews it.

    last: the last point too, because nothing of it succeeded.
    """
    manifest = read_manifest(path)
    origin_ns = manifest.clock.origin_monotonic_ns or 0
    for point in manifest.points:
        outlived = died_ns is not None and (point.ended_s or 0.0) > (died_ns - origin_ns) / NS_PER_S
        if point.status == "complete" and (outlived or (last and point is manifest.points[-1])):
            point.status, point.invalid = "invalid", "the server died during the measurement"
    write_json(path / MANIFEST, manifest.plain())
