"""Asking a model behind an OpenAI-compatible server: vLLM, SGLang, Ollama, a cloud's.

The frames go as JPEG into the message, each behind the second at which it is shown. What was answered is kept
in a journal, so that nothing is asked again that has been answered.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import io
import json
import math
import os
import random
import threading
import time
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from gym_qa.questions.prompt import prompt as question_prompt
from gym_qa.questions.questions import Question
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.inference.footage import Shot
from sefar_mllm.inference.journal import Record

LIKELIEST = 20  # tokens whose log-probability a server gives
NO_KEY = "none"  # what servers without keys are sent
LONGEST_WAIT = 60.0  # seconds, where the server does not say how long
SERVER_ERRORS = (408, 409, 425, 429)  # besides 500 and above: worth another try


@dataclass(frozen=True)
class EndpointConfig:
    """How a server is asked (``--model openai:NAME``).

    Args:
        key_variable: environment variable that holds the key; the key itself is written nowhere.
        concurrency: questions asked at a time.
        timeout: seconds after which a request counts as lost.
        attempts: how often a question is tried before the run ends; what was answered is kept, and the same
            command goes on from there.
        new_tokens: longest reply.
        logprobs: also ask for the likeliest first tokens, where the server offers them.
        quality: of the JPEG pictures, 1 to 95.
        body: further entries of each request, such as {max_completion_tokens: 2000, temperature: null}; null
            takes one out.
        price_in: price of a million tokens asked, to have the cost.
        price_out: price of a million tokens replied.
    """

    key_variable: str = "OPENAI_API_KEY"
    concurrency: int = 8
    timeout: float = 120.0
    attempts: int = 8
    new_tokens: int = 48
    logprobs: bool = True
    quality: int = 90
    body: dict[str, Any] = field(default_factory=dict)
    price_in: float | None = None
    price_out: float | None = None

    def __post_init__(self) -> None:
        for name in ("concurrency", "attempts", "new_tokens", "timeout"):
            if not 0 < getattr(self, name) < math.inf:
                raise SefarMLLMError(f"endpoint.{name}: expected more than 0, got {getattr(self, name)}")


class Endpoint:
    """A model behind a server.

    Args:
        model: its name there.
        base_url: of the server, such as ``http://localhost:8000/v1``; none for OpenAI's.
        config: how it is asked.

    Attributes:
        stopped: once set, no question is tried again.

    Raises:
        SefarMLLMError: without the package ``openai``, for a key where none may stand, or for none where one
            is needed.
    """

    def __init__(self, model: str, base_url: str | None = None, config: EndpointConfig | None = None) -> None:
        self.model, self.base_url, self.config = model, base_url, config or EndpointConfig()
        if base_url and "@" in urlsplit(base_url).netloc:
            raise SefarMLLMError(
                "base_url: holds a user or a password, which would be written down; put the key into the "
                f"environment variable {self.config.key_variable}"
            )
        try:
            self._openai: Any = importlib.import_module("openai")
        except ImportError as error:
            raise SefarMLLMError(
                "asking an endpoint needs the package openai: pip install 'sefar-mllm[endpoint]'"
            ) from error
        self._key = os.environ.get(self.config.key_variable) or NO_KEY
        if self._key == NO_KEY and base_url is None:
            raise SefarMLLMError(
                f"model 'openai:{model}': the environment variable {self.config.key_variable} is not set; "
                "put the key into it, or name another (endpoint.key_variable) or your own server (base_url)"
            )
        self._client = self._openai.OpenAI(
            api_key=self._key, base_url=base_url, timeout=self.config.timeout, max_retries=0
        )
        self._offers_logprobs = self.config.logprobs
        self._pause_until = 0.0
        self.stopped = threading.Event()
        self._lock = threading.Lock()

    def key(self, question: Question, shot: Shot | None) -> str:
        """What tells a request from all others: its words, frames and settings, and who is asked."""
        frames = None if shot is None else hashlib.sha256(shot.frames.tobytes()).hexdigest()
        shape = () if shot is None else shot.frames.shape
        times = () if shot is None else shot.seconds
        words = question_prompt(question.question, question.options)
        asked = [self.base_url, self._settings(), self.config.quality, words, frames, shape, times]
        return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()

    def ask(self, question: Question, shot: Shot | None) -> Record:
        """Ask until there is an answer.

        Returns:
            ``reply``, ``finish`` (why it ended), ``tokens_in``, ``tokens_out``; and ``letters``, log p of
            each option's letter as first token, where the server gives it.

        Raises:
            SefarMLLMError: when the server refuses the request, or has failed for as often as may be.
        """
        messages = [{"role": "user", "content": self._content(question, shot)}]
        errors = self._openai
        for attempt in range(1, self.config.attempts + 1):
            self._wait()
            try:
                return self._record(self._send(messages), question)
            except errors.APIConnectionError as error:  # time-outs too
                reason, wait = f"{type(error).__name__}: {error}", None
            except errors.APIStatusError as error:
                reason, wait = (
                    f"status {error.status_code}: {error.message}",
                    told_wait(error.response.headers),
                )
                lasting = error.code == "insufficient_quota"
                if lasting or (error.status_code < 500 and error.status_code not in SERVER_ERRORS):
                    raise self._failed(question, reason) from None
                if error.status_code == 429:  # which concerns all
                    self._pause(wait or self._pause_after(attempt))
                    wait = 1e-3
            except (errors.APIError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                reason, wait = f"no such reply as expected ({type(error).__name__}: {error})", None
            if attempt < self.config.attempts and self.stopped.wait(wait or self._pause_after(attempt)):
                break
        raise self._failed(question, f"{attempt} attempts; the last: {reason}")

    def _send(self, messages: list[dict[str, Any]]) -> Any:
        more = {"logprobs": True, "top_logprobs": LIKELIEST} if self._offers_logprobs else {}
        try:
            return self._client.chat.completions.create(messages=messages, **self._settings(), **more)
        except (self._openai.BadRequestError, self._openai.UnprocessableEntityError) as error:
            if not more or "logprobs" not in str(error):
                raise
            self._offers_logprobs = False
            return self._send(messages)

    def _settings(self) -> dict[str, Any]:
        """Entries of a request beside its messages; the client passes on what it does not know."""
        body = {"max_tokens": self.config.new_tokens, "temperature": 0, **self.config.body}
        if "max_completion_tokens" in body:
            del body["max_tokens"]
        return {"model": self.model, "extra_body": {key: one for key, one in body.items() if one is not None}}

    def _content(self, question: Question, shot: Shot | None) -> list[dict[str, Any]]:
        content: list[dict[str, Any]] = []
        for place, frame in enumerate(() if shot is None else shot.frames):
            if shot is not None and shot.seconds:
                content.append({"type": "text", "text": f"{shot.seconds[place]:.2f} s"})
            picture = io.BytesIO()
            Image.fromarray(frame).save(picture, "JPEG", quality=self.config.quality)
            url = f"data:image/jpeg;base64,{base64.b64encode(picture.getvalue()).decode()}"
            content.append({"type": "image_url", "image_url": {"url": url}})
        return [*content, {"type": "text", "text": question_prompt(question.question, question.options)}]

    def _record(self, answer: Any, question: Question) -> Record:
        choice, usage = answer.choices[0], answer.usage
        record: Record = {
            "reply": choice.message.content or "",
            "finish": choice.finish_reason,
            "tokens_in": usage.prompt_tokens if usage else None,
            "tokens_out": usage.completion_tokens if usage else None,
        }
        first = (
            choice.logprobs.content[0].top_logprobs if choice.logprobs and choice.logprobs.content else None
        )
        return {**record, "letters": letters(first, len(question.options))} if first else record

    def _wait(self) -> None:
        """Wait while the server wants no requests."""
        while (left := self._pause_until - time.monotonic()) > 0 and not self.stopped.is_set():
            self.stopped.wait(left)

    def _pause(self, seconds: float) -> None:
        with self._lock:
            self._pause_until = max(self._pause_until, time.monotonic() + seconds)

    def _pause_after(self, attempt: int) -> float:
        """Seconds: twice as long after each attempt, and never for all threads the same."""
        return float(min(LONGEST_WAIT, 0.5 * 2**attempt) * (0.5 + random.random() / 2))

    def _failed(self, question: Question, reason: str) -> SefarMLLMError:
        reason = reason.replace(self._key, "…") if self._key != NO_KEY else reason
        where = self.base_url or "OpenAI's server"
        return SefarMLLMError(
            f"{where}, model {self.model!r}, question {question.id!r}: {reason}. What was answered is kept: "
            "the same command goes on from there"
        )


def told_wait(headers: Any) -> float | None:
    """Seconds that a server wants to be left alone, as ``Retry-After`` says."""
    try:
        seconds = float(headers.get("retry-after"))
    except (TypeError, ValueError):
        return None
    return seconds if 0 < seconds < math.inf else None


def letters(likeliest: list[Any], options: int) -> list[float | None]:
    """log p of each option's letter as the first token; None for one that is not among the likeliest.

    Args:
        likeliest: tokens, each with its ``token`` and ``logprob``.
        options: how many there are.
    """
    found: dict[str, list[float]] = {}
    for one in likeliest:
        found.setdefault(one.token.strip(), []).append(float(one.logprob))
    mass = {letter: sum(math.exp(value) for value in values) for letter, values in found.items()}
    return [math.log(mass[letter]) if mass.get(letter) else None for letter in ascii_uppercase[:options]]
