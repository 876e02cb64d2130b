"""A plain socket client for the simulator's tests: it sees the bytes as they are."""

from __future__ import annotations

import json
import re
import socket
from typing import Any

from benchsuite.simulator.server import RunningSimulator

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"


def request_bytes(path: str, body: dict[str, Any] | None, headers: str = "") -> bytes:
    """One HTTP request: POST with a body, GET without."""
    if body is None:
        return f"GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n".encode()
    data = json.dumps(body).encode()
    return f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n{headers}\r\n".encode() + data


class Client:
    """One kept-alive connection to a simulator."""

    def __init__(self, sim: RunningSimulator) -> None:
        self.sock = socket.create_connection((sim.host, sim.port), timeout=10)
        self.buffer = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def ask(self, path: str, body: dict[str, Any] | None = None, headers: str = "") -> tuple[int, bytes, bytes]:
        """Status, head and body (chunks undone) of one whole response."""
        self.sock.sendall(request_bytes(path, body, headers))
        return self.take()

    def take(self) -> tuple[int, bytes, bytes]:
        """The next response on the connection."""
        head = self._until(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        if b"transfer-encoding: chunked" in head:
            chunks = []
            while size := int(self._until(b"\r\n"), 16):
                chunks.append(self._exactly(size))
                assert self._exactly(2) == b"\r\n"
            assert self._exactly(2) == b"\r\n"
            return status, head, b"".join(chunks)
        length = re.search(rb"content-length: (\d+)", head)
        return status, head, self._exactly(int(length[1])) if length else self.rest()

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        while data := self.sock.recv(65536):
            self.buffer += data
        data, self.buffer = self.buffer, b""
        return data

    def _until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            self._more()
        data, self.buffer = self.buffer.split(mark, 1)
        return data + (mark if mark == b"\r\n\r\n" else b"")

    def _exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            self._more()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def _more(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise EOFError("the server closed the connection")
        self.buffer += data


def chat(tokens: int = 3, **fields: Any) -> dict[str, Any]:
    """A streaming chat request with a prompt of two tokens."""
    message = {"role": "user", "content": "hello there"}
    return {"messages": [message], "max_tokens": tokens, "stream": True, **fields}


def plain(data: bytes) -> str:
    """The bytes with what changes from run to run (id, created, stamp) put as ID, 0 and STAMP."""
    text = re.sub(r"sim-\d{8}-\d{19}", "ID", data.decode())
    return re.sub(
        r'"system_fingerprint":"\d{19}"', '"system_fingerprint":"STAMP"', re.sub(r'"created":\d+', '"created":0', text)
    )


def events(data: bytes) -> list[Any]:
    """The JSON of every data event; [DONE] as it is."""
    lines = [line[6:] for line in data.decode().splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]
