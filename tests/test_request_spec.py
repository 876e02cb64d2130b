"""[sampling], headers, query, route and extra_body: what is refused, where and why; and that no secret is repeated."""

from __future__ import annotations

import json

import pytest

from benchsuite.errors import InputError, SpecError
from benchsuite.load import server_probe
from benchsuite.matrix_spec import load_matrix
from benchsuite.redact import KEY_SHOWN, masked
from benchsuite.spec import load_spec, overrides, parse_spec

URL = {"base_url": "http://h:1"}
SECRET = "planted-0123456789"

HEADERS = {
    "no =": ("X-Tenant", "header number 1 has no ="),
    "as curl has them": (f"Authorization: Bearer {SECRET}", "has no ="),
    "as curl has them, with a =": (f"Authorization: Basic {SECRET}==", "not NAME: VALUE"),
    "no name": (f"={SECRET}", "header number 1"),
    "a space in the name": (f"X Tenant={SECRET}", "header X is followed by invalid characters"),
    "a secret's name": (f"Authorization=Bearer {SECRET}", "Authorization=env:VARIABLE"),
    "a secret's name in another case": (f"X-API-KEY={SECRET}", "X-API-KEY=env:VARIABLE"),
    "a secret's form": (f"X-Anything=Bearer {SECRET}", "X-Anything=env:VARIABLE"),
    "a line feed": (f"X-A=1\r\nAuthorization: {SECRET}", "printable ASCII"),
    "not ASCII": ("X-A=münchen", "printable ASCII"),
    "the framing": (f"content-length={SECRET}", "frames the request"),
    "the encoding": ("Accept-Encoding=gzip", "no separate times"),
    "the type": ("Content-Type=text/plain", "application/json"),
    "the key for its variable": (f"api-key=env:{SECRET}", "the name of the variable, not its value"),
    "no variable": ("api-key=env:", "names nothing"),
    "no file": ("api-key=file:", "names nothing"),
}


@pytest.mark.parametrize(("given", "words"), HEADERS.values(), ids=HEADERS)
def test_a_header_that_cannot_be(given, words):
    """Each says which header and what is expected, with all other mistakes of the spec, and never its value."""
    with pytest.raises(SpecError) as refused:
        load_spec(None, overrides({"base_url": "http://h:1", "header": (given,), "temperature": -1.0}))
    assert "server.headers: " in refused.value.what
    assert "sampling.temperature: " in refused.value.what
    assert words in refused.value.what
    assert SECRET not in str(refused.value)


def test_every_header_is_checked_at_once():
    """Two that are wrong and one that is there twice are one refusal; a table of TOML is checked as flags are."""
    with pytest.raises(SpecError) as refused:
        parse_spec({"server": URL | {"headers": {"a": 3, "te": "x", "X-B": "1", "x-b": "2"}}}, where="t")
    (line,) = refused.value.what.splitlines()[1:]
    assert line.strip() == (
        "server.headers: header a is int; expected a text; header te cannot be set: it frames the request, which "
        "benchsuite does itself; header x-b is given twice"
    )


@pytest.mark.parametrize("given", [5, [5], ["a"], {"a": None}, {"": "x"}, [[1, 2]], True, "a"])
def test_what_is_no_table_of_texts(given):
    """Whatever TOML or JSON may hold there is a mistake with its key, and no traceback."""
    for part in ("headers", "query"):
        with pytest.raises(SpecError, match=f"server.{part}: "):
            parse_spec({"server": URL | {part: given}}, where="t")


@pytest.mark.parametrize(
    "name", ["apikey", "api_key", "subscription-key", "Ocp-Apim-Subscription-Key", "x-functions-key", "cookie", "sig",
             "X-Auth-Token", "x-amz-security-token", "Proxy-Authorization", "xApiKey", "code", "client-secret", "jwt"],
)  # fmt: skip
def test_names_of_secrets(name):
    """Headers and query alike: given as they are they would be written down."""
    for part in ("headers", "query"):
        with pytest.raises(SpecError) as refused:
            parse_spec({"server": URL | {part: {name: SECRET}}}, where="t")
        assert "env:VARIABLE" in str(refused.value)
        assert SECRET not in str(refused.value)
        assert parse_spec({"server": URL | {part: {name: "env:KEY"}}}, where="t")


@pytest.mark.parametrize("name", ["X-Title", "x-portkey-provider", "max-tokens", "author", "HTTP-Referer", "Keyword"])
def test_names_of_no_secrets(name):
    """What gateways want besides, and words that sound like a secret's, are taken as they are."""
    assert parse_spec({"server": URL | {"headers": {name: "v"}}}, where="t").server.headers == {name: "v"}


BODIES = {
    "no JSON": ({"extra_body": '{"a": 1,}'}, "server.extra_body: not valid JSON: "),
    "the place": ({"extra_body": '{"temperature": }'}, "line 1 column 17"),
    "no object": ({"extra_body": "[1]"}, "server.extra_body: list in JSON"),
    "NaN": ({"extra_body": '{"a": NaN}'}, "server.extra_body: JSON cannot hold it"),
    "the model": ({"extra_body": '{"model": "x"}'}, "model (--model)"),
    "the stream": ({"extra_body": '{"stream": false}'}, "stream (--stream or --no-stream)"),
    "a secret": ({"extra_body": f'{{"api_key": "{SECRET}"}}'}, "'api_key' names a secret or holds one"),
    "no file": ({"extra_body": "@/nowhere/body.json"}, "the file that server.extra_body names does not exist"),
    "a file without an end": ({"extra_body": "@/dev/zero"}, "the file that server.extra_body names is too long"),
    "a home of nobody": ({"extra_body": "@~nobody-here/b"}, "the file that server.extra_body names does not exist"),
    "a name that is none": ({"extra_body": "@a\0b"}, "the file that server.extra_body names cannot be read"),
    "deep": ({"extra_body": '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"}, "server.extra_body: "),
    "a fallback's": ({"fallback_url": "http://f", "fallback_model": "m", "fallback_extra_body": "{"},
                     "server.fallback.extra_body: not valid JSON"),
    "a secret in the template": ({"chat_template_kwargs": f'{{"api_key": "{SECRET}"}}'}, "'api_key' names a secret"),
    "a secret of another name": ({"extra_body": f'{{"x": {{"client_secret": "{SECRET}"}}}}'}, "'client_secret' names"),
    "a secret by its form": ({"extra_body": f'{{"x": ["sk-{SECRET}{SECRET}"]}}'}, "names a secret or holds one"),
    "a query's by its form": ({"query": (f"a=gsk_{SECRET}{SECRET}",)}, "query a holds a secret"),
    "a secret in the path": ({"path": f"/serve?api-key={SECRET}"}, "expected a path"),
    "a secret alone": ({"header": (f"sk-{SECRET}",)}, "header number 1 has no ="),
    "two answers": ({"extra_body": '{"n": 2}'}, "n (one answer per request)"),
    "a cap that is true": ({"extra_body": '{"max_tokens": true}'}, "max_tokens: expected a whole number"),
    "a cap as text": ({"extra_body": '{"max_completion_tokens": "64"}'}, "max_completion_tokens: expected"),
    "no cap": ({"extra_body": '{"max_tokens": null}'}, "max_tokens: expected a whole number"),
    "a cap below 1": ({"extra_body": '{"max_tokens": -1}'}, "max_tokens: expected a whole number"),
    "template": ({"chat_template_kwargs": "true"}, "sampling.chat_template_kwargs: bool in JSON"),
    "temperature": ({"temperature": -0.1}, "sampling.temperature: Input should be greater than or equal to 0"),
    "top_p": ({"top_p": 1.5}, "sampling.top_p: Input should be less than or equal to 1 (given 1.5)"),
    "penalty": ({"presence_penalty": 3.0}, "sampling.presence_penalty: "),
    "stop": ({"stop": ("",)}, "sampling.stop.0: "),
    "effort": ({"reasoning_effort": "very high"}, "sampling.reasoning_effort: "),
    "path": ({"path": "chat?api-version=1"}, "--query NAME=VALUE"),
    "query": ({"query": ("api-version",)}, "query number 1 has no ="),
    "query twice": ({"query": ("a=1", "a=2")}, "query a is given twice"),
    "query in both": ({"base_url": "http://h:1/v1?a=1", "query": ("a=2",)}, "in the base URL and in query"),
    "no chat": ({"endpoint": "completions", "reasoning_effort": "low"}, "sampling.reasoning_effort: text completions"),
    "no SDK route": ({"driver": "openai", "path": "/generate"}, "server.path that ends otherwise"),
}  # fmt: skip


@pytest.mark.parametrize(("flags", "words"), BODIES.values(), ids=BODIES)
def test_what_cannot_be_sent(flags, words):
    """Exit code 2, the key or the flag, and the place in it."""
    with pytest.raises(SpecError) as refused:
        load_spec(None, overrides({"base_url": "http://h:1"} | flags))
    assert words in str(refused.value)
    assert SECRET not in str(refused.value)


def test_one_text_that_ends_an_answer():
    """stop = "END" in TOML is that text, as the API takes it."""
    assert parse_spec({"server": URL, "sampling": {"stop": "END"}}, where="t").sampling.stop == ("END",)


def test_dates_of_toml():
    """TOML has values that JSON has not: refused when read, not when sent."""
    tree = {"server": URL, "sampling": {"chat_template_kwargs": {"today": __import__("datetime").date(2026, 1, 1)}}}
    with pytest.raises(SpecError, match="JSON cannot hold it"):
        parse_spec(tree, where="t")


def test_texts_from_files(tmp_path):
    """@FILE of a flag or of a TOML is what stands in the file; in a run's own specification it is a text."""
    (tmp_path / "body.json").write_text('{"min_p": 0.1}')
    (tmp_path / "system.txt").write_text("@all: be brief.\n")
    body, system = f"@{tmp_path}/body.json", f"@{tmp_path}/system.txt"
    toml = tmp_path / "sweep.toml"
    toml.write_text(
        f'[server]\nbase_url = "http://h:1"\nextra_body = "{body}"\n[server.fallback]\nbase_url = "http://f:1"\n'
        f'model = "m"\nextra_body = "{body}"\n[sampling]\nsystem_prompt = "{system}"\nchat_template_kwargs = "{body}"\n'
    )
    flags = overrides({"extra_body": body, "system_prompt": system})
    run = {"server": URL, "sampling": {"system_prompt": system}}
    matrix = tmp_path / "matrix.toml"
    matrix.write_text(
        f'[serve]\nengine = "vllm m"\n[settings]\nmax-num-seqs = [1]\n[sweep.sampling]\nsystem_prompt = "{system}"\n'
    )

    asked = load_spec(toml, {})
    assert asked.server.fallback.extra_body == asked.sampling.chat_template_kwargs == {"min_p": 0.1}
    for spec in (asked, load_spec(None, {"server.base_url": "http://h:1"} | flags), load_spec(None, flags, run)):
        assert (spec.server.extra_body, spec.sampling.system_prompt) == ({"min_p": 0.1}, "@all: be brief.\n")
    assert load_matrix(matrix).tree["sampling"] == {"system_prompt": "@all: be brief.\n"}
    for spec in (parse_spec(run, where="t"), load_spec(None, {}, run)):
        assert spec.sampling.system_prompt == system
    toml.write_text('[sampling]\nsystem_prompt = "@/nowhere"\n[server]\nbase_url = "http://h:1"\n')
    with pytest.raises(SpecError, match=r"the file that sampling\.system_prompt names does not exist") as refused:
        load_spec(toml, {})
    assert refused.value.where == "/nowhere"


def resolved(**server: object) -> tuple[dict[str, str], str]:
    spec = parse_spec({"server": URL | server}, where="t")
    return server_probe.request_headers(spec), server_probe.request_query(spec)


def test_secrets_by_variable_and_file(monkeypatch, tmp_path):
    """Their values are sent and masked wherever they come back, as they are or as an address carries them."""
    monkeypatch.setattr("benchsuite.redact._keys", [])
    monkeypatch.setenv("MY_KEY", f" {SECRET}\n")
    monkeypatch.setenv("OPENAI_API_KEY", "for-another-server")
    (tmp_path / "token").write_text("a/b+c=0123\n")
    headers, query = resolved(
        headers={"api-key": "env:MY_KEY", "X-Auth": f"Bearer file:{tmp_path}/token"},
        query={"code": "env:MY_KEY", "v": "1"},
    )
    assert headers == {"api-key": SECRET, "X-Auth": "Bearer a/b+c=0123"}
    assert query == f"?code={SECRET}&v=1"
    assert masked(f"{SECRET} a/b+c=0123 a/b%2Bc%3D0123") == " ".join([KEY_SHOWN] * 3)
    assert resolved()[0] == {"Authorization": "Bearer for-another-server"}
    assert resolved(headers={"X-A": "1"})[0] == {"Authorization": "Bearer for-another-server", "X-A": "1"}
    assert resolved(headers={"AUTHORIZATION": "Token env:MY_KEY"})[0] == {"AUTHORIZATION": f"Token {SECRET}"}


@pytest.mark.parametrize(
    ("value", "content", "given"),
    [("env:NO_SUCH", None, "NO_SUCH"), ("env:EMPTY", None, "EMPTY"), ("env:LINES", None, "LINES"),
     ("file:{}/none", None, "No such file"), ("file:{}/f", b"", None), ("file:{}/f", b"a\nb", "/f")],
)  # fmt: skip
def test_a_secret_that_is_not_there(value, content, given, tmp_path, monkeypatch):
    """The variable or file is named, with the flag; what is in it never is."""
    monkeypatch.setenv("EMPTY", " ")
    monkeypatch.setenv("LINES", f"{SECRET}\nX: 1")
    if content is not None:
        (tmp_path / "f").write_bytes(content)
    for part in ("headers", "query"):
        with pytest.raises(InputError) as refused:
            resolved(**{part: {"api-key": value.format(tmp_path)}})
        assert given is None or given in str(refused.value.given)
        assert SECRET not in str(refused.value)
        assert refused.value.exit_code == 2


def test_what_is_stored_and_printed(cli, monkeypatch):
    """--print-spec and the JSON of the manifest have the variable's name alone, and read back as they were."""
    monkeypatch.setenv("MY_KEY", SECRET)
    flags = ("--header", "api-key=env:MY_KEY", "--extra-body", '{"stop": null}', "--stop", "END")
    done = cli("sweep --print-spec --base-url http://h:1", flags)
    assert 'headers = {"api-key" = "env:MY_KEY"}' in done.out
    assert SECRET not in done.out
    spec = load_spec(None, overrides({"base_url": "http://h:1", "header": flags[1:2], "extra_body": flags[3]}))
    assert json.loads(spec.model_dump_json())["server"]["extra_body"] == {"stop": None}
