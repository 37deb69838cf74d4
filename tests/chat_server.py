"""A server on the loopback address that speaks the protocol of chat completions, and fails as it is told."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image


class ChatServer(ThreadingHTTPServer):
    """Answers with the letter of the option that ends in the text before "?" of its question.

    Attributes:
        faults: what befalls the first requests of each question, in order: "429", "500", "late", "cut" (no
            reply at all), "torn" (half a reply), "odd" (a reply that is none); then it is answered.
        answered: how often each prompt was answered whole.
        requests: everything that was asked.
        logprobs: whether it gives them; a request for them is refused otherwise.
        barrier: what requests wait at for one another, if at all.
    """

    daemon_threads = True

    def __init__(self, faults: tuple[str, ...] = (), logprobs: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults, self.logprobs = faults, logprobs
        self.lock = threading.Lock()
        self.answered: Counter[str] = Counter()
        self.tried: defaultdict[str, int] = defaultdict(int)
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.at_once = self.most_at_once = 0
        self.barrier: threading.Barrier | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: ChatServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        prompt = asked["messages"][0]["content"][-1]["text"]
        with server.lock:
            server.requests.append(asked)
            server.keys.add(self.headers["Authorization"])
            place = server.tried[prompt]
            server.tried[prompt] += 1
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            if server.barrier is not None:
                server.barrier.wait(timeout=60)
            fault = server.faults[place] if place < len(server.faults) else ""
            if not fault and asked.get("logprobs") and not server.logprobs:
                self.say(400, {"error": {"message": "logprobs are not supported", "code": None}})
                return
            self.fail(fault) if fault else self.answer(prompt, bool(asked.get("logprobs")))
        finally:
            with server.lock:
                server.at_once -= 1

    def fail(self, fault: str) -> None:
        if fault == "429":
            self.say(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.05"})
        elif fault == "late":
            time.sleep(1.5)
            self.close_connection = True
        elif fault == "cut":
            self.close_connection = True
        elif fault == "torn":
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices": [')
            self.close_connection = True
        elif fault == "odd":
            self.say(200, {"choices": []})
        else:
            self.say(int(fault), {"error": {"message": f"no good: {self.headers['Authorization']}"}})

    def answer(self, prompt: str, logprobs: bool) -> None:
        wanted = prompt.split("?")[0].split()[-1]
        letter = next(line[0] for line in prompt.splitlines()[1:] if line.endswith(f" {wanted}"))
        likely = [{"token": letter, "logprob": -0.1}, {"token": f" {letter}", "logprob": -4.0}]
        other = "B" if letter == "A" else "A"
        likely.append({"token": other, "logprob": -3.0})
        choice = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": f"{letter}."},
            "logprobs": {"content": [{**likely[0], "top_logprobs": likely}]} if logprobs else None,
        }
        usage = {"prompt_tokens": 100, "completion_tokens": 2, "total_tokens": 102}
        self.say(200, {"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage})
        with self.server.lock:
            self.server.answered[prompt] += 1

    def say(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(faults: tuple[str, ...] = (), logprobs: bool = True) -> Iterator[ChatServer]:
    """A server while it is needed."""
    with ChatServer(faults, logprobs) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def pictures(request: dict[str, Any]) -> list[np.ndarray]:
    """The frames in a request."""
    urls = [
        part["image_url"]["url"] for part in request["messages"][0]["content"] if part["type"] == "image_url"
    ]
    content = [base64.b64decode(url.removeprefix("data:image/jpeg;base64,")) for url in urls]
    return [np.asarray(Image.open(io.BytesIO(one))) for one in content]
