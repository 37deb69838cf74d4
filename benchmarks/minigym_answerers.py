"""Answerers made on MiniGym (synthetic) without pictures: classifiers of the 2-D joints of its clips."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gym_qa.datasets.finegym import read_finegym
from gym_qa.minigym import ELEMENTS, SIZES, MiniGymConfig, make_minigym
from gym_qa.minigym.motion import perform
from gym_qa.minigym.scene import Athlete, Camera, Scene
from gym_qa.minigym.schedule import ClipPlan, plan
from gym_qa.questions.balance import balanced
from gym_qa.questions.policies import Policy
from gym_qa.questions.questions import Question, build_questions

KNOWN = 3000  # labelled clips at most
MOMENTS, PX = 8, 16
METHODS = {
    "logistic": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=100)),
    "neighbours": lambda: make_pipeline(StandardScaler(), KNeighborsClassifier(9, weights="distance")),
    "forest": lambda: RandomForestClassifier(60, random_state=0),
    "Bayes": lambda: make_pipeline(StandardScaler(), GaussianNB()),
}


@dataclass(frozen=True)
class Answerer:
    """A classifier and what it is given: labels, moments of a clip, noise of the joints, order of moments."""

    method: str = "logistic"
    labels: int = 3000
    moments: int = MOMENTS
    noise: float = 0.0
    shuffled: bool = False


def joints(clips: list[ClipPlan]) -> np.ndarray:
    """``(N, 8, 34)`` joints in the picture, from the hip, at the middles of eight bins."""
    scenes: dict[int, Scene] = {}
    points = np.empty((len(clips), MOMENTS, 17, 2))
    for row, clip in enumerate(clips):
        venue, athlete, seed = clip.seeds
        if venue not in scenes:
            scenes = {venue: Scene.draw(np.random.default_rng(venue), PX)}
        rng = np.random.default_rng(seed)
        stature = Athlete.draw(np.random.default_rng(athlete)).stature
        time = np.linspace(rng.uniform(0.0, 0.13), rng.uniform(0.88, 1.0), clip.frames)
        world = perform(ELEMENTS[clip.label], time, rng, stature)
        camera = Camera.follow(world, scenes[venue], PX, rng)
        seen = camera.project(world)[..., :2] / camera.side
        chosen = ((np.arange(MOMENTS) + 0.5) * clip.frames / MOMENTS).astype(int)
        points[row] = seen[chosen] - seen[chosen][:, :1]
    return points.reshape(len(clips), MOMENTS, 34)


def seen_by(answerer: Answerer, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What an answerer is given of the joints ``(N, 8, 34)``: ``(N, moments · 34)``."""
    if answerer.shuffled:
        points = rng.permuted(points, axis=1)
    step = MOMENTS // answerer.moments
    given = points[:, step // 2 :: step]
    return (given + rng.normal(0, 1, given.shape) * answerer.noise).reshape(len(points), -1)


def answered_right(
    answerer: Answerer, train: np.ndarray, labels: np.ndarray, clips: np.ndarray, questions: list[Question]
) -> np.ndarray:
    """Whether each question is answered right ``(n,)``: the likeliest class among its options."""
    rng = np.random.default_rng(0)
    first = rng.permutation(len(train))[: answerer.labels]
    model = METHODS[answerer.method]().fit(seen_by(answerer, train[first], rng), labels[first])
    scores = np.zeros((len(clips), len(ELEMENTS)))
    scores[:, model.classes_] = model.predict_proba(seen_by(answerer, clips, rng))
    scores += rng.random(scores.shape) * 1e-9  # ties
    options = np.array([question.option_labels for question in questions])
    chosen = np.take_along_axis(scores, options, 1).argmax(1)
    return chosen == [question.answer for question in questions]


@dataclass(frozen=True)
class Setting:
    """Validation questions of one policy, with the joints of their clips and of labelled ones."""

    questions: list[Question]
    clips: np.ndarray
    train: np.ndarray
    labels: np.ndarray

    def answers(self, answerer: Answerer) -> np.ndarray:
        """Whether each question is answered right ``(n,)``."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # which is how weak answerers are made
            return answered_right(answerer, self.train, self.labels, self.clips, self.questions)


def setting(policy: str, clips: str = "full", seed: int = 0) -> Setting:
    """MiniGym's questions of a policy, balanced as strictly as can be."""
    size = SIZES[clips]
    with tempfile.TemporaryDirectory() as folder:
        data = make_minigym(MiniGymConfig(Path(folder), clips, seed, videos=False))
        train, val = (
            read_finegym(None, data / "categories.txt", data / f"{part}_element.txt")
            for part in ("train", "val")
        )
    built = build_questions(val.clips, val.classes, policy, seed, train.counts(), dataset="minigym")
    questions = balanced(built, Policy.parse(policy).balances[-1], seed)
    schedule = plan(size.train, size.val, seed)
    asked = {question.video for question in questions}
    known = schedule.train[:KNOWN]
    return Setting(
        questions,
        joints([clip for clip in schedule.val if clip.clip_id in asked]),
        joints(known),
        np.array([clip.label for clip in known]),
    )
