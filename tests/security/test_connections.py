"""Whom benchsuite speaks to: certificates are verified, redirects not followed, proxies not asked, keys kept home."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading

import httpx
import pytest

from benchsuite.client.connection import Link
from benchsuite.client.http import Endpoint
from benchsuite.client.reference_clients import httpx_client, openai_client
from benchsuite.errors import ServerUnreachable
from benchsuite.load.preflight import preflight
from benchsuite.load.server_probe import control_client
from benchsuite.spec import parse_spec
from benchsuite.telemetry.server_metrics import Scraper
from benchsuite.workload.dataset import Prompt
from tests.security.hostile_servers import serving, whole

KEY = "sk-planted-0123456789abcdef"
PROMPTS = (Prompt("p", None, ({"role": "user", "content": "hi"},), None, 4),)


def spec_of(url: str, **server):
    return parse_spec({"server": {"base_url": url, "profile": "openai", "model": "m", **server}}, where="t")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate that nobody vouches for, for 127.0.0.1, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl program to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def tls_server(certificate):
    """A server with that certificate that answers everything like an OpenAI server; its URL and what it was sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    listener = socket.create_server(("127.0.0.1", 0))
    heard: list[bytes] = []
    listed = whole({"data": [{"id": "m"}]}, more=b"Connection: close\r\n")
    answer = (
        b'{"id":"x","choices":[{"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"completion_tokens":1}}'
    )

    def serve() -> None:
        while True:
            try:
                sock = listener.accept()[0]
            except OSError:
                return
            try:
                with context.wrap_socket(sock, server_side=True) as tls:
                    heard.append(tls.recv(65536))
                    tls.sendall(
                        listed if heard[-1].startswith(b"GET") else whole(answer, more=b"Connection: close\r\n")
                    )
            except OSError:
                sock.close()

    threading.Thread(target=serve, daemon=True).start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}", heard
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_an_untrusted_certificate_is_refused(tls_server, monkeypatch):
    """Before a byte of a request, so no key is sent; the error says that it is the certificate."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    url, heard = tls_server
    spec = spec_of(url)
    with control_client(spec) as client, pytest.raises(ServerUnreachable, match=r"(?i)certificate.*self.signed"):
        preflight(spec, client, PROMPTS)
    assert heard == []
    scraper = Scraper(f"{url}/metrics", 0)
    assert "certificate" in (scraper.get().problem or "").lower()
    scraper.close()
    assert heard == []


def test_insecure_is_said(tls_server):
    """--insecure talks to it all the same, and the spec in the manifest says so."""
    url, heard = tls_server
    spec = spec_of(url, insecure=True)
    with control_client(spec) as client:
        found = preflight(spec, client, PROMPTS)
    assert found.endpoints[0].insecure
    assert len(heard) > 1
    assert spec.model_dump(mode="json")["server"]["insecure"] is True
    assert parse_spec({"server": {"base_url": url}}, where="t").server.insecure is False


def test_a_redirect_is_an_answer_and_no_way(monkeypatch):
    """No client of ours goes where a redirect points, so no key goes there either; under load it is an http_error."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    heard: list[bytes] = []

    def elsewhere(sock, request):
        heard.append(request)
        sock.sendall(whole({"data": []}))

    with serving(elsewhere) as other:
        away = whole(b"", b"307 Temporary Redirect", b"Location: %s/v1/models\r\n" % other.encode())
        with serving(lambda sock, _: sock.sendall(away)) as url:
            spec = spec_of(url)
            with control_client(spec) as client:
                assert client.get("/v1/models").status_code == 307
                with pytest.raises(Exception, match="HTTP 307"):
                    preflight(spec, client, PROMPTS)
            scraper = Scraper(f"{url}/metrics", 0, headers={"Authorization": f"Bearer {KEY}"})
            assert scraper.get().kind == "answered 307"
            scraper.close()

            async def cross_checks() -> None:
                host, port = url.removeprefix("http://").split(":")
                link = Link(asyncio.get_running_loop(), _endpoint(host, int(port)), 5.0)
                async with httpx_client(link) as plain:
                    assert (await plain.get(f"{url}/v1/models")).status_code == 307
                sdk = openai_client(link)
                with pytest.raises(Exception, match="307"):
                    await sdk.models.list()
                await sdk.close()

            asyncio.run(cross_checks())
    assert heard == []


def _endpoint(host: str, port: int) -> Endpoint:
    return Endpoint(
        2, (host, port), host, f"{host}:{port}", "/v1/chat/completions", headers=(("Authorization", f"Bearer {KEY}"),)
    )


def test_no_proxy_of_the_environment_is_asked(monkeypatch):
    """HTTP_PROXY and its like lead nowhere: what is measured is the server, and a key is for it alone."""
    heard: list[bytes] = []

    def proxy(sock, request):
        heard.append(request)
        sock.sendall(whole(b"", b"502 Bad Gateway"))

    with serving(proxy) as asked, serving(lambda sock, _: sock.sendall(whole({"data": [{"id": "m"}]}))) as url:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, asked)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with control_client(spec_of(url)) as client:
            assert client.get("/v1/models").json() == {"data": [{"id": "m"}]}
        scraper = Scraper(f"{url}/metrics", 0)
        assert scraper.get().text == '{"data": [{"id": "m"}]}'
        scraper.close()

        async def cross_checks() -> None:
            host, port = url.removeprefix("http://").split(":")
            link = Link(asyncio.get_running_loop(), _endpoint(host, int(port)), 5.0)
            async with httpx_client(link) as plain:
                assert (await plain.get(f"{url}/v1/models")).status_code == 200
            sdk = openai_client(link)
            assert [model.id async for model in sdk.models.list()] == ["m"]
            await sdk.close()

        asyncio.run(cross_checks())
    assert heard == []


def test_errors_of_transport_are_httpx_errors():
    """Who asks beside the load knows httpx's errors alone: a refused connection is one of them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with control_client(spec_of(f"http://127.0.0.1:{port}")) as client, pytest.raises(httpx.ConnectError):
        client.get("/v1/models")
