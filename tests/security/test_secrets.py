"""No API key leaves this program but to the server that it is for: not into files, tables, errors or command lines."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest

from benchsuite import redact
from benchsuite.cli.main import main
from benchsuite.errors import EngineError, InputError, SpecError
from benchsuite.load.launched_sweep import served_plan
from benchsuite.load.server_probe import api_key, key_file_warnings
from benchsuite.serving.process import running_server
from benchsuite.spec import parse_spec
from tests.security.hostile_servers import serving, whole

KEY = "sk-planted-0123456789abcdef"
SPARE = "sk-fallback-fedcba9876543210"
SPLIT = (
    '{"choices":[{"delta":{"content":"' + KEY[:9] + '"}}]}',
    '{"choices":[{"delta":{"content":"' + KEY[9:] + '"}}]}',
)
LAST = '{"id":"%s","choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}'


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    monkeypatch.setattr(redact, "_keys", [])


def parrot():
    """A server that says the key back wherever a server can say something; every fourth request is refused."""
    count = iter(range(10**9))

    def handle(sock, request):
        said = next(
            (line[22:] for line in request.split(b"\r\n") if line.lower().startswith(b"authorization: bearer ")), b""
        )
        key = said.decode()
        if request.startswith(b"GET /v1/models"):
            listed = {"data": [{"id": f"model-{key}", "owned_by": "vllm"}]}
            sock.sendall(whole(listed, more=b"Server: %s\r\n" % said))
        elif request.startswith(b"GET /version"):
            sock.sendall(whole({"version": f"0.32 {key}", key: key}))
        elif request.startswith(b"GET /metrics"):
            sock.sendall(whole(b'vllm:num_requests_running{model="%s" %s\n' % (said, said), kind=b"text/plain"))
        elif request.startswith(b"GET"):
            sock.sendall(whole(b"no " + said, b"404 Not Found"))
        elif b'"stream"' in request and next(count) % 4 == 3:
            error = {"error": {"message": "x" * 280 + key, "escaped": key}}
            sock.sendall(whole(json.dumps(error).replace("sk-", "sk\\u002d").encode(), b"503 " + said))
        else:
            events = "".join(f"data: {event}\n\n" for event in (*SPLIT, LAST % key, "[DONE]"))
            sock.sendall(whole(events.encode(), more=b"x-request-id: %s\r\n" % said, kind=b"text/event-stream"))

    return serving(handle)


def run(*args: str, cwd: Path, **env: str) -> tuple[subprocess.CompletedProcess, list[bytes]]:
    """benchsuite as its users call it; and the command lines of all its processes while it ran."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchsuite", *args],
        cwd=cwd, env=os.environ | env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    seen: set[bytes] = set()

    def watch() -> None:
        while process.poll() is None:
            for task in Path(f"/proc/{process.pid}/task").glob("*/children"):
                for pid in [str(process.pid), *_text(task).decode().split()]:
                    seen.add(_text(Path(f"/proc/{pid}/cmdline")))
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, err = process.communicate(timeout=250)
    watcher.join()
    return subprocess.CompletedProcess(args, process.returncode, out, err), sorted(seen)


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


WAYS = {
    "keys": ((), {"OPENAI_API_KEY": KEY, "FALLBACK_API_KEY": SPARE}),
    "headers and query": (
        ("--header", "Authorization=Bearer env:A", "--query", "code=env:A", "--fallback-header",
         "authorization=Bearer env:B", "--fallback-query", "sig=env:B"),
        {"A": KEY, "B": SPARE, "OPENAI_API_KEY": "", "FALLBACK_API_KEY": ""},
    ),
}  # fmt: skip


def sample(name: str) -> list:
    """The cases of WAYS, of which `make test` has one."""
    return [pytest.param(*case, marks=[] if way == name else pytest.mark.slow) for way, case in WAYS.items()]


@pytest.mark.parametrize(("flags", "variables"), WAYS.values(), ids=WAYS)
def test_a_sweep_leaves_no_key_anywhere(flags, variables, tmp_path):
    """A whole sweep against servers that parrot both keys: no file, output, table or command line has either."""
    with parrot() as url, parrot() as fallback:
        done, lines = run(
            "sweep", "--base-url", url, "--fallback-url", fallback, "--fallback-model", "big", "--concurrency", "2",
            "--requests", "12", "--workers", "1", "--save-text", "--warmup-requests", "2", "--warmup-min-s", "0",
            "--gpu", "off", "--usd-per-hour", "1", "--profile", "vllm", "--cooldown-min-s", "0", "--output", "run",
            *flags, cwd=tmp_path, **variables, XDG_CACHE_HOME=str(tmp_path / "cache"),
        )  # fmt: skip
    assert (tmp_path / "run" / "manifest.json").is_file(), done.stderr
    assert len(lines) >= 2, "the worker was seen"
    rows = str(_rows(tmp_path / "run"))
    assert "http_error" in rows
    assert redact.KEY_SHOWN in rows
    assert_no_key(tmp_path, done, lines, rows)


def assert_no_key(folder: Path, done: subprocess.CompletedProcess, lines: list[bytes], rows: str = "") -> None:
    """Neither key, nor a piece of one, is in any file of a folder, in the outputs, or on a command line."""
    everything = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    everything |= {"stdout": done.stdout.encode(), "stderr": done.stderr.encode(), "rows": rows.encode()}
    everything |= {f"command line {line[:60]!r}": line for line in lines}
    for secret in (KEY, SPARE):
        for where, content in everything.items():
            assert secret.encode() not in content, where
            assert secret.replace("-", "\\u002d").encode() not in content, where
            assert secret[:20].encode() not in content, f"{where}: a piece of it"


SHORT = (
    "--concurrency", "2", "--requests", "12", "--workers", "1", "--save-text", "--warmup-requests", "2",
    "--warmup-min-s", "0", "--gpu", "off", "--profile", "vllm", "--cooldown-min-s", "0",
)  # fmt: skip


@pytest.mark.parametrize(("flags", "variables"), sample("headers and query"), ids=WAYS)
def test_ab_leaves_no_key_anywhere(flags, variables, tmp_path):
    """Two arms in turn against servers that parrot the key, the verdict's files, and the same of the folders."""
    flags = flags[:4]
    with parrot() as a, parrot() as b:
        done, lines = run(
            "ab", "--base-url", a, "--base-url", b, "--budget-min", "0.001", *SHORT, "--output", "s",
            *flags, cwd=tmp_path, **variables, XDG_CACHE_HOME=str(tmp_path / "cache"),
        )  # fmt: skip
    rows = "".join(str(_rows(tmp_path / "s" / arm)) for arm in "AB")
    assert redact.KEY_SHOWN in rows, done.stderr
    assert_no_key(tmp_path, done, lines, rows)
    again, lines = run("ab", "s/A", "s/B", "--json", "--summary", "s.md", cwd=tmp_path, **variables)
    assert_no_key(tmp_path, again, lines)


@pytest.mark.parametrize("fault", [
    "batch@worker-0:2:kill",
    *(pytest.param(fault, marks=pytest.mark.slow) for fault in ("batch@worker-0:2:error", "rename@main:2:error=28")),
])  # fmt: skip
@pytest.mark.parametrize(("flags", "variables"), sample("keys"), ids=WAYS)
def test_a_crash_and_a_resume_leave_no_key_anywhere(flags, variables, fault, tmp_path):
    """A measuring process that dies or fails, or a full disk, amid a sweep; then the command that takes it up again."""
    flags = flags[:4]
    with parrot() as url:
        how = ("--base-url", url, *flags)
        broken, lines = run(
            "sweep", *how, *SHORT, "--output", "run",
            cwd=tmp_path, **variables, BENCHSUITE_FAULT_POINTS=fault, XDG_CACHE_HOME=str(tmp_path / "cache"),
        )  # fmt: skip
        assert broken.returncode != 0, broken.stdout
        assert_no_key(tmp_path, broken, lines)
        for args in (("sweep", "--resume", "run"), ("sweep", "--resume", "run", *how)):  # the first is refused
            done, lines = run(*args, cwd=tmp_path, **variables, XDG_CACHE_HOME=str(tmp_path / "cache"))
            assert_no_key(tmp_path, done, lines)
    assert json.loads((tmp_path / "run" / "manifest.json").read_bytes())["status"] == "complete", done.stderr
    rows = str(_rows(tmp_path / "run"))
    assert redact.KEY_SHOWN in rows, done.stderr
    assert_no_key(tmp_path, done, lines, rows)


def variables_of_the_sdk() -> set[str]:
    """Every variable that the installed openai package reads by name."""
    sources = [path.read_text("utf-8") for path in Path(importlib.util.find_spec("openai").origin).parent.rglob("*.py")]
    return {name for text in sources for name in re.findall(r"environ(?:\.get\(|\[)\s*\"([A-Z_0-9]+)\"", text)}


@pytest.mark.parametrize("driver", ["httpx", "openai"])
def test_libraries_send_nothing_of_the_environment(driver, tmp_path):
    """Organisation, project, further keys, headers, addresses, proxies, netrc: none of it is sent or followed."""
    heads = []

    def handle(sock, request):
        heads.append(request)
        if request.startswith(b"GET /v1/models"):
            sock.sendall(whole({"data": [{"id": "m"}]}))
        elif request.startswith(b"GET"):
            sock.sendall(whole(b"no", b"404 Not Found"))
        else:
            events = "".join(f"data: {event}\n\n" for event in (LAST % "x", "[DONE]"))
            sock.sendall(whole(events.encode(), kind=b"text/event-stream"))

    asked = []
    known = variables_of_the_sdk()
    assert {"OPENAI_CUSTOM_HEADERS", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"} <= known
    secret = {name: f"secret-of-{name}" for name in known}
    secret |= {"OPENAI_CUSTOM_HEADERS": "User-Agent: secret\nX-A: secret"}
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    with serving(handle) as url, serving(lambda _, request: asked.append(request)) as elsewhere:
        proxies = {f"{scheme}_proxy": elsewhere for scheme in ("http", "https", "all")}
        proxies |= {name.upper(): elsewhere for name in proxies} | {"NO_PROXY": "", "no_proxy": ""}
        secret |= {name: elsewhere for name in known if name.endswith(("_URL", "_ENDPOINT"))}
        ended = subprocess.run(
            [sys.executable, "-m", "benchsuite", "sweep", "--base-url", url, "--driver", driver, "--concurrency", "2",
             "--requests", "4", "--max-output-tokens", "2", "--warmup-requests", "0", "--gpu", "off",
             "--output", "run"],
            cwd=tmp_path, env=os.environ | secret | proxies | {"HOME": str(tmp_path), "OPENAI_API_KEY": KEY},
            capture_output=True, text=True,
        )  # fmt: skip
    posts = [head for head in heads if head.startswith(b"POST")]
    assert len(posts) >= 4, ended.stderr
    assert [head for head in heads if b"secret" in head.lower() or b"Basic" in head] == []
    assert all(f"Bearer {KEY}".encode() in head for head in posts)
    assert asked == []


def _rows(path: Path) -> list[dict]:
    from benchsuite.store.run_folder import read_run

    return read_run(path).table.select(["status", "error", "response_id", "text", "finish_reason"]).to_pylist()


@pytest.mark.parametrize("name", ["HF_TOKEN", "WANDB_API_KEY", "DB_PASSWORD", "client_secret", "CACHE"])
def test_secrets_of_the_environment_are_taken_out(name, capfd, monkeypatch):
    """What the name of a variable calls a secret is in no output; the value of another one is no secret."""
    value = KEY.removeprefix("sk-")  # else it has the form of a key
    monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["benchsuite", "decide", f"no-such-run-{value}"])
    with pytest.raises(SystemExit):
        main()
    assert (value in "".join(capfd.readouterr())) == (name == "CACHE")


def test_a_refused_url_does_not_show_its_password(capfd, monkeypatch):
    """A URL with a password is refused without saying the password; so is a mistyped key's value."""
    monkeypatch.setattr("sys.argv", ["benchsuite", "sweep", "--base-url", f"http://me:{KEY}@127.0.0.1:1"])
    with pytest.raises(SystemExit) as ended:
        main()
    told = "".join(capfd.readouterr())
    assert ended.value.code == 2
    assert KEY not in told
    assert "may not contain a user or password" in told
    with pytest.raises(SpecError) as caught:
        parse_spec({"server": {"base_url": f"http://h/?key={KEY}", "api_key": KEY}}, where="t")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "changed",
    [
        {"telemetry": {"metrics_url": f"http://me:{KEY}@h/metrics"}},
        {"telemetry": {"dcgm_url": f"http://{KEY}@h:9400"}},
        {"server": {"base_url": "http://h", "api_key_env": KEY}},
        {"server": {"base_url": "http://h", "fallback": {"base_url": "http://f", "model": "m", "api_key_env": KEY}}},
    ],
)
def test_a_key_in_the_wrong_place_is_refused(changed):
    """What the manifest would keep: a password in any URL, a key given where its variable's name belongs."""
    with pytest.raises(SpecError) as caught:
        parse_spec({"server": {"base_url": "http://h"}} | changed, where="t")
    assert KEY not in str(caught.value)
    assert "run folder" in str(caught.value) or "not the key itself" in str(caught.value)


@pytest.mark.parametrize("name", ["api_key", "API-Key", "Authorization", "access_token", "x-api-key", "password"])
def test_a_secret_in_extra_body_is_refused(name):
    """extra_body is stored with the run, so a key in it is refused by its name, however deep, unsaid."""
    tree = {"server": {"base_url": "http://h", "extra_body": {"deep": [{name: KEY}]}}}
    with pytest.raises(SpecError, match="names a secret or holds one") as caught:
        parse_spec(tree, where="t")
    assert KEY not in str(caught.value)


def test_words_about_tokens_are_no_secrets():
    """max_tokens, stop_token_ids and their like are what extra_body is for."""
    body = {"max_tokens": 5, "stop_token_ids": [1], "min_tokens": 1, "token": 3, "skip_special_tokens": True}
    assert parse_spec({"server": {"base_url": "http://h", "extra_body": body}}, where="t").server.extra_body == body


def test_a_secret_among_a_servers_arguments_is_refused():
    """The server's command is stored with the run; its key belongs into its environment."""
    with pytest.raises(InputError, match="VLLM_API_KEY") as caught:
        served_plan(f"vllm m -- --api-key {KEY}", {})
    assert KEY not in str(caught.value)


def _spec(**server):
    return parse_spec({"server": {"base_url": "http://h", **server}}, where="t")


def test_a_key_from_a_file(tmp_path, monkeypatch):
    """The file's one line, before what the environment says; readable by others, it is warned about."""
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    file.chmod(0o600)
    spec = _spec(api_key_file=str(file))
    assert api_key(spec) == KEY
    assert key_file_warnings(spec) == []
    file.chmod(0o644)
    assert [warn.values["file"] for warn in key_file_warnings(_spec(headers={"x-key": f"file:{file}"}))] == [str(file)]
    assert [(warn.code, warn.values) for warn in key_file_warnings(spec)] == [("api_key_readable", {"file": str(file)})]
    assert redact.masked(f"a {KEY} b") == "a [API key] b"


@pytest.mark.parametrize(
    "content", [None, b"", b"\n", b"\xff\xfe", b"two\nlines", b"x" * 5000, "schl\u00fcssel".encode()]
)
def test_a_file_without_a_key_is_refused(tmp_path, content):
    """Missing, empty, not text, several lines, endless: refused by its name, never by what is in it."""
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        api_key(_spec(api_key_file=str(file)))
    assert str(file) in str(caught.value)
    assert "two" not in str(caught.value)


def test_short_words_are_no_keys():
    """Local servers are given EMPTY or none for a key: taking those out would spoil what servers say."""
    redact.remember_key("EMPTY")
    assert redact.masked("EMPTY") == "EMPTY"


def _each(form):
    return "".join(form % ord(character) for character in KEY)


HIDDEN = {
    "as it is": KEY,
    "JSON": KEY.replace("-", "\\u002d"),
    "JSON, all of it": _each("\\u%04X"),
    "JSON in JSON": KEY.replace("-", "\\\\\\u002d"),
    "C": _each("\\x%02x"),
    "octal": _each("\\%03o"),
    "a shell": KEY.replace("-", "\\-"),
    "a URL": _each("%%%02x"),
    "a URL in a URL": _each("%%25%02X"),
    "HTML": _each("&#%d;"),
    "HTML, hexadecimal": _each("&#x%x;"),
    "HTML in HTML": _each("&amp;#%d;"),
    "HTML in JSON": _each("\\u0026#%d;"),
    "NUL": KEY[:7] + "\0" + KEY[7:],
    "NUL in JSON": KEY[:7] + "\\u0000" + KEY[7:],
    "two lines": KEY[:7] + "\r\n    " + KEY[7:],
    "two lines in JSON": KEY[:7] + "\\n" + KEY[7:],
    "invisible characters": "\u200b".join(KEY),
    "colours": KEY[:7] + "\x1b[31m" + KEY[7:],
}


@pytest.mark.parametrize("form", HIDDEN.values(), ids=HIDDEN)
def test_a_hidden_key_is_seen(form):
    """A key behind escapes, or with what nobody sees between its characters, is taken out, and nothing else is."""
    redact.remember_key(KEY)
    assert redact.masked(f"a {form} b {form}, c") == "a [API key] b [API key], c"
    assert KEY[:12] not in redact.shortened("x" * 290 + form, 300)


def test_half_a_key_is_a_key():
    """A text that is cut shows no piece of a key: not at its end, nor where it begins within one."""
    redact.remember_key(KEY)
    assert redact.masked(f"x {KEY[:-1]}", cut_after=True) == "x [API key]"
    assert redact.masked(f"{KEY[1:]} x", cut_before=True) == "[API key] x"
    for most in range(60):
        assert KEY[:4] not in redact.shortened(f"{KEY} {KEY} and {KEY}", most)


def test_a_key_that_looks_escaped():
    """One that holds a %2D or a backslash is found as it is, and where that was resolved."""
    redact.remember_key("ab%2Dcdefgh\\x")
    assert redact.masked("1 ab%2Dcdefgh\\x 2 ab-cdefghx") == "1 [API key] 2 [API key]"


def test_secrets_of_the_environment(tmp_path):
    """Values of variables that are named like secrets are remembered; paths, short words and other names are not."""
    secrets = {"HF_TOKEN": "hf_" + "a" * 20, "MY_API_KEY": "b" * 20, "DB_PASSWORD": "c" * 20, "X_SECRET": "d" * 20}
    others = {"MONKEY": "e" * 20, "TLS_KEY": str(tmp_path), "KEY": "none", "TOKENIZERS_PARALLELISM": "f" * 20}
    redact.remember_secrets(secrets | others)
    assert sorted(redact.remembered_keys()) == sorted(secrets.values())


@pytest.mark.parametrize("flag", ["--api-key-file", "--driver", "--header=x=file:", "--base-url=http://127.0.0.1:1/#"])
def test_a_key_where_none_belongs(flag, capfd, monkeypatch):
    """What has the form of a key is masked wherever a person gave it, also as the name of a file."""
    key = "sk-proj-0123456789abcdefghij"
    words = [flag + key] if "=" in flag else [flag, key]
    monkeypatch.setattr("sys.argv", ["benchsuite", "sweep", "--base-url", "http://127.0.0.1:1", *words])
    with pytest.raises(SystemExit):
        main()
    assert "0123456789" not in "".join(capfd.readouterr())


def test_what_led_to_an_error_is_masked():
    """Nor do the exceptions below an error of ours show a key, which a notebook prints with it."""
    redact.remember_key(KEY)
    with pytest.raises(InputError) as caught:
        try:
            raise OSError(f"illegal header value {KEY}")
        except OSError as error:
            raise InputError("no", where=KEY, given=error, hint=[KEY]) from error
    assert KEY not in "".join(traceback.format_exception(caught.value)) + repr(caught.value) + str(vars(caught.value))


def test_no_repr_shows_a_key():
    """What a traceback or a debugger prints of an endpoint or a request has no key in it."""
    from benchsuite.client.http import Endpoint
    from benchsuite.client.request import EncodedRequest

    assert KEY not in repr(Endpoint(2, ("h", 1), "h", "h", query=f"?k={KEY}", headers=(("k", KEY),), secrets=(KEY,)))
    assert KEY not in repr(EncodedRequest(KEY.encode(), "p", None, None))


LOGS = """
import os, sys
key = os.environ["MY_TOKEN"]
def say(text):
    sys.stdout.write(text)
    sys.stdout.flush()
for number in range(2000):
    say(f"line {number} {key}\\n")
say("Error: " + key[:9])
say(key[9:] + " \\\\u0068\\\\u0066" + key[2:] + "\\n" + sys.argv[2] + "\\n" + key[:-1])
sys.exit(3)
"""


def test_what_a_server_of_ours_logs(tmp_path):
    """A secret of its environment or command is in no log, error or file, however it is cut; nobody else reads the log.

    The file without a name that the server writes to is gone with it; text around the secret is whole.
    """
    key, argument, folder = "hf_0123456789abcdefgh", "argument-0123456789", tmp_path / "logs"
    folder.mkdir()
    before, command = os.umask(0), [sys.executable, "-c", LOGS, "--api-key", argument]
    try:
        with (
            pytest.raises(EngineError) as caught,
            running_server(command, ready_url="http://127.0.0.1:1/", log_path=folder / "log", env={"MY_TOKEN": key}),
        ):
            pytest.fail("it is ready")
    finally:
        os.umask(before)
    log = (folder / "log").read_text("utf-8")
    for where in (log, str(caught.value)):
        assert key[:8] not in where
        assert argument[:8] not in where
    assert log.count(redact.KEY_SHOWN) == 2004
    assert "line 1999 [API key]\nError: " in log
    assert [path.name for path in folder.iterdir()] == ["log"]
    assert (folder / "log").stat().st_mode & 0o777 == 0o600


def test_a_log_that_is_being_written():
    """What goes into the copy of a growing log never ends within a key, and what is held back is the rest."""
    redact.remember_key(KEY)
    text = f"{'a' * 3000} {KEY} {'b' * 3000}"
    shown = ""
    while n := redact.settled(text):
        shown, text = shown + redact.masked(text[:n]), text[n:]
    assert shown + redact.masked(text) == f"{'a' * 3000} [API key] {'b' * 3000}"
    assert all(redact.settled(f"{'a' * n} {KEY}{'b' * 500}") <= n + 1 + 500 for n in range(40))


def test_streams_and_loggers_are_masked(caplog):
    """Nor does what others print or log in this process show a key: warnings, tracebacks, libraries of HTTP."""
    redact.remember_key(KEY)
    stream = io.StringIO()
    redact.mask_stream(stream)
    print(KEY, KEY.replace("-", "%2d"), file=stream)
    assert stream.getvalue() == "[API key] [API key]\n"
    with caplog.at_level("DEBUG", logger="httpx"):
        logging.getLogger("httpx").info("GET %s", f"http://h/?code={KEY}")
    assert KEY not in caplog.text
