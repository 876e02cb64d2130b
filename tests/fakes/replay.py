"""A server that answers with captured bytes: status, headers and body as a real one sent them."""

from __future__ import annotations

from pathlib import Path

from fakes.http import Answer, Fake, Request

FOLDER = Path(__file__).parents[1] / "data" / "captures"


class Replay(Fake):
    """routes: "METHOD /path" to the name of a capture, or to bytes. Other paths are 404, as FastAPI says it.

    A body is sent with its length; a capture's transfer-encoding was taken off when it was made.
    """

    def __init__(self, routes: dict[str, str | bytes]) -> None:
        super().__init__()
        self._routes = routes

    async def handle(self, request: Request, answer: Answer) -> None:
        found = self._routes.get(f"{request.method} {request.path}")
        if found is None:
            await answer.whole(404, {"detail": "Not Found"})
            return
        content = found if isinstance(found, bytes) else (FOLDER / f"{found}.txt").read_bytes()
        head, _, body = content.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        own = ("content-length", "content-type", "transfer-encoding", "date")
        kept = [line for line in lines if line.split(":")[0].lower() not in own]
        kind = next((line.split(": ", 1)[1] for line in lines if line.lower().startswith("content-type")), "text/plain")
        await answer.whole(int(status.split(" ")[1]), body, kind, *kept)
