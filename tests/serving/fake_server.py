"""A stand-in for any server that benchsuite starts: answers their health, notes how it was called.

Environment: FAKE_RECORD, a file for {"argv", "env", "pids"} as JSON; FAKE_DELAY_S before it listens; FAKE_STRAY starts
a process in a session of its own, which no signal to the server's group reaches; FAKE_DIES: ends with 3 instead.
"""

import json
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODELS = ["there:latest"]
ANSWERS = {
    "/health": None,
    "/version": {"version": "0.32.0"},
    "/info": {"version": "3.3.5"},
    "/server_info": {"version": "0.5.21"},
    "/api/version": {"version": "0.34.0"},
}
CALLS = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/api/tags":
            return self.answer({"models": [{"name": name} for name in MODELS]})
        if self.path == "/calls":
            return self.answer({"calls": CALLS})
        return self.answer(ANSWERS[self.path]) if self.path in ANSWERS else self.send_error(404)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        CALLS.append([self.path, body])
        if self.path == "/api/pull" and body["model"] == "unknown":
            return self.answer({"error": "pull model manifest: file does not exist"})
        if self.path == "/api/pull":
            return self.answer({"status": "pulling", "completed": 1, "total": 2}, {"status": "success"})
        if self.path == "/api/show":
            level = "unknown" if body["model"] == "there" else "Q4_K_M"  # as it says of weights that are not quantized
            return self.answer({"details": {"quantization_level": level}})
        return self.answer({"model": body["model"], "done": True})

    def answer(self, *lines):
        text = "\n".join(json.dumps(line) for line in lines if line is not None).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args):
        pass


def main():
    argv = sys.argv[1:]
    if os.environ.get("FAKE_DIES"):
        print("CUDA error: out of memory", flush=True)
        sys.exit(3)
    pids = [os.getpid()]
    if os.environ.get("FAKE_STRAY"):
        pids.append(subprocess.Popen(["sleep", "600"], start_new_session=True).pid)
    flag = next((flag for flag in ("--port", "--server-port") if flag in argv), None)
    if flag:
        port = int(argv[argv.index(flag) + 1])
    else:
        port = int(os.environ.get("OLLAMA_HOST", ":0").rpartition(":")[2]) or int(os.environ["PORT"])
    if "FAKE_RECORD" in os.environ:
        env = {name: value for name, value in os.environ.items() if name.startswith("OLLAMA_")}
        Path(os.environ["FAKE_RECORD"]).write_text(json.dumps({"argv": argv, "env": env, "pids": pids}))
    print("loading weights", flush=True)
    time.sleep(float(os.environ.get("FAKE_DELAY_S", "0")))
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
