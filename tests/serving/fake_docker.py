"""A stand-in for `docker` with Compose: notes every call in FAKE_CALLS, serves a health endpoint for `up`.

FAKE_NO_COMPOSE: without the plugin.
FAKE_PID: the container's process. `up` ends on SIGTERM, as the real one does once its containers stopped.
"""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

INSPECTED = f"vllm/vllm-openai:v0.32.0 sha256:1d {os.environ.get('FAKE_PID', '0')}"
DIGESTS = "vllm/vllm-openai@sha256:d16e57"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        text = b'{"version": "0.32.0"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args):
        pass


def note(argv):
    file = json.loads(Path(argv[argv.index("-f") + 1]).read_text()) if "-f" in argv else None
    with Path(os.environ["FAKE_CALLS"]).open("a") as calls:
        calls.write(json.dumps({"argv": argv, "file": file}) + "\n")
    return file


def main():
    argv = sys.argv[1:]
    file = note(argv)
    if argv == ["compose", "version"]:
        sys.exit(1 if os.environ.get("FAKE_NO_COMPOSE") else 0)
    if "up" in argv:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        print("server-1  | loading weights", flush=True)
        HTTPServer(("127.0.0.1", int(file["services"]["server"]["ports"][0].split(":")[1])), Handler).serve_forever()
    if "ps" in argv:
        print("c0ffee")
    if argv[0] == "inspect":
        print(INSPECTED)
    if argv[:2] == ["image", "inspect"]:
        print(DIGESTS)
    if "down" in argv:
        print("Container removed", flush=True)


if __name__ == "__main__":
    main()
