"""Endpoints: by a server on the loopback address that fails in every way, each question is answered once."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from chat_server import pictures, serving

from gym_qa.questions.questions import Question
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.inference.endpoint import Endpoint, EndpointConfig
from sefar_mllm.inference.footage import Shot
from sefar_mllm.inference.journal import Journal
from sefar_mllm.inference.looking import EndpointRespondent

KEY = "sk-secret-of-the-test"
WORDS = ("tucked", "piked", "stretched", "twisted")
QUICK = {"timeout": 0.5, "attempts": 8, "concurrency": 4}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("GYM_KEY", KEY)
    monkeypatch.setattr(Endpoint, "_pause_after", lambda self, attempt: 0.01)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


class Clips(dict):
    """Frames of any clip: grey as its number."""

    def __missing__(self, name: str) -> Shot:
        frames = np.full((3, 32, 48, 3), int(name[1:]) % 250, np.uint8)
        return Shot(name, frames, (0.25, 0.5, 1.0))


def questions(count: int) -> list[Question]:
    made = []
    for number in range(count):
        options = tuple(WORDS[(number + step) % 4] for step in range(4))
        answer = number % 3
        asked = f"Clip {number}: which is {options[answer]}?"
        made.append(Question(f"q{number}", f"c{number}", asked, options, answer))
    return made


def respondent(url: str, folder: Path, **settings: object) -> EndpointRespondent:
    config = EndpointConfig(key_variable="GYM_KEY", **{**QUICK, **settings})  # type: ignore[arg-type]
    return EndpointRespondent(Endpoint("tiny", url, config), folder / "replies.jsonl")


def test_no_question_is_lost_and_none_is_asked_twice(tmp_path):
    asked = questions(24)
    with serving(("429", "500", "late", "cut", "torn", "odd")) as server:
        answers = respondent(server.url, tmp_path).predict(asked, Clips())
        assert [one.choice for one in answers] == [question.answer for question in asked]
        assert set(server.answered.values()) == {1}
        assert len(server.answered) == 24
        assert len(server.requests) == 24 * 7
        before = len(server.requests)
        again = respondent(server.url, tmp_path)
        assert again.predict(asked, Clips()) == answers
        assert len(server.requests) == before
        assert again.usage()["asked_now"] == 0


def test_a_run_that_broke_off_goes_on(tmp_path):
    asked = questions(12)
    with serving() as server:
        respondent(server.url, tmp_path).predict(asked[:5], Clips())
        file = tmp_path / "replies.jsonl"
        lines = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join(lines[:4]) + lines[4][:20])  # as one that was killed leaves it
        answers = respondent(server.url, tmp_path).predict(asked, Clips())
        assert [one.choice for one in answers] == [question.answer for question in asked]
        assert len(server.requests) == 5 + 8
    assert len([json.loads(line) for line in file.read_text().splitlines()]) == 12


def test_a_server_that_stays_away_ends_the_run_and_keeps_the_answers(tmp_path):
    asked = questions(6)
    with serving(("500",) * 3) as server:
        server.tried |= {f"{number}": 0 for number in range(6)}
        with pytest.raises(
            SefarMLLMError, match=r"question 'q\d': 2 attempts; the last: status 500.*goes on"
        ):
            respondent(server.url, tmp_path, attempts=2).predict(asked, Clips())
    with serving() as server:
        respondent(server.url, tmp_path).predict(asked, Clips())
    with pytest.raises(SefarMLLMError, match="APIConnectionError"):
        respondent(server.url, tmp_path / "other", attempts=1).predict(asked, Clips())


def test_after_a_failure_nobody_tries_on(tmp_path, monkeypatch):
    """The first question is refused while the second waits an hour for its next attempt."""
    monkeypatch.setattr(Endpoint, "_pause_after", lambda self, attempt: 3600.0)
    with serving(("500",) * 9) as server:
        answerer = respondent(server.url, tmp_path, concurrency=2)
        ask, waiting = answerer.endpoint.ask, threading.Event()
        wait = answerer.endpoint.stopped.wait
        monkeypatch.setattr(
            answerer.endpoint.stopped, "wait", lambda timeout=None: (waiting.set(), wait(timeout))[1]
        )

        def refused(question, shot):
            if question.id == "q0":
                assert waiting.wait(60)
                raise SefarMLLMError("refused")
            return ask(question, shot)

        monkeypatch.setattr(answerer.endpoint, "ask", refused)
        with pytest.raises(SefarMLLMError, match="refused"):
            answerer.predict(questions(20), Clips())
        assert len(server.requests) == 1


def test_what_is_asked(tmp_path):
    with serving() as server:
        respondent(server.url, tmp_path, body={"seed": 3}).predict(questions(8)[7:], Clips())
        request = server.requests[0]
        assert server.keys == {f"Bearer {KEY}"}
    kinds = [part["type"] for part in request["messages"][0]["content"]]
    assert kinds == ["text", "image_url"] * 3 + ["text"]
    times = [part["text"] for part in request["messages"][0]["content"] if part["type"] == "text"]
    assert times[:3] == ["0.25 s", "0.50 s", "1.00 s"]
    assert all(np.abs(frame.astype(int) - 7).max() < 4 for frame in pictures(request))
    assert [frame.shape for frame in pictures(request)] == [(32, 48, 3)] * 3
    assert (request["model"], request["temperature"], request["max_tokens"], request["seed"]) == (
        "tiny",
        0,
        48,
        3,
    )


def test_entries_can_be_taken_out(tmp_path):
    body = {"temperature": None, "max_completion_tokens": 900}
    with serving() as server:
        respondent(server.url, tmp_path, body=body).predict(questions(1), Clips())
        assert "temperature" not in server.requests[0]
        assert "max_tokens" not in server.requests[0]
        assert server.requests[0]["max_completion_tokens"] == 900


def test_letters_have_the_likelihood_that_the_server_gives(tmp_path):
    with serving() as server:
        (answer,) = respondent(server.url, tmp_path).predict(questions(1), Clips())
    right = np.logaddexp(-0.1, -4.0)
    assert answer.scores["letter"] == pytest.approx([right, -3.0, -np.inf, -np.inf])
    assert answer.probabilities == pytest.approx([p / (np.exp(right) + np.exp(-3)) for p in
                                                  (np.exp(right), np.exp(-3), 0, 0)])  # fmt: skip
    assert answer.as_json()["scores"]["letter"][2:] == [None, None]


def test_a_server_without_log_probabilities_is_asked_without(tmp_path):
    with serving(logprobs=False) as server:
        answers = respondent(server.url, tmp_path, concurrency=1).predict(questions(5), Clips())
        assert len(server.requests) == 6
    assert [one.choice for one in answers] == [question.answer for question in questions(5)]
    assert {(one.probabilities, str(one.scores)) for one in answers} == {((), "{}")}


def test_questions_are_on_their_way_together_and_same_ones_once(tmp_path):
    same = [Question(f"q{n}", "c1", "Which is tucked?", WORDS, 0) for n in range(20)]
    with serving() as server:
        assert len(respondent(server.url, tmp_path).predict(same, Clips())) == 20
        assert len(server.requests) == 1
        server.barrier = threading.Barrier(4)  # which none passes alone
        respondent(server.url, tmp_path).predict(questions(40), Clips())
        assert server.most_at_once == 4


def test_other_frames_or_words_are_another_request(tmp_path):
    asked = questions(2)
    with serving() as server:
        answerer = respondent(server.url, tmp_path)
        answerer.predict(asked, Clips())
        answerer.without_video().predict(asked, None)
        answers = answerer.predict(asked, Clips(), {"c0": "c1", "c1": "c0"})
        assert len(server.requests) == 6
    assert [one.shown for one in answers] == ["c1", "c0"]


def test_the_key_is_written_nowhere(tmp_path, capfd, caplog):
    with serving(("401",)) as server:
        with pytest.raises(SefarMLLMError, match="status 401") as caught:
            respondent(server.url, tmp_path).predict(questions(1), Clips())
        respondent(server.url, tmp_path).predict(questions(1), Clips())
    told = [str(caught.value), *capfd.readouterr(), caplog.text, repr(Endpoint("m", server.url).config)]
    written = [file.read_text() for file in tmp_path.rglob("*") if file.is_file()]
    assert written
    assert not any(KEY in text for text in [*told, *written])


@pytest.mark.parametrize(
    ("url", "variable", "message"),
    [
        ("http://me:secret@host/v1", "GYM_KEY", "holds a user or a password"),
        (None, "NOT_SET", "environment variable NOT_SET is not set"),
    ],
)
def test_keys_in_other_places(url, variable, message):
    with pytest.raises(SefarMLLMError, match=message) as caught:
        Endpoint("tiny", url, EndpointConfig(key_variable=variable))
    assert "secret" not in str(caught.value)


def test_a_server_of_ones_own_needs_no_key(tmp_path):
    with serving() as server:
        endpoint = Endpoint("tiny", server.url, EndpointConfig(key_variable="NOT_SET"))
        EndpointRespondent(endpoint, tmp_path / "replies.jsonl").predict(questions(1), Clips())
        assert server.keys == {"Bearer none"}


def test_usage_and_cost(tmp_path, capsys):
    with serving() as server:
        answerer = respondent(server.url, tmp_path, price_in=2.0, price_out=10.0)
        answerer.predict(questions(10), Clips())
        answerer.write_usage(tmp_path / "usage.json")
    usage = json.loads((tmp_path / "usage.json").read_text())
    assert (usage["requests"], usage["tokens_in"], usage["tokens_out"]) == (10, 1000, 20)
    assert usage["cost"] == pytest.approx(0.0022)
    assert "10 requests, 10 of them now" in capsys.readouterr().out


def test_a_failure_does_not_keep_others_waiting(tmp_path):
    journal, tries = Journal(tmp_path / "j.jsonl"), []

    def fail() -> dict[str, object]:
        tries.append(1)
        raise SefarMLLMError("no")

    for _ in range(2):
        with pytest.raises(SefarMLLMError, match="no"):
            journal.get("k", fail)
    assert len(tries) == 2
    assert journal.get("k", lambda: {"reply": "x"})["reply"] == "x"
