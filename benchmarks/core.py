"""How well a core of 500 questions ranks answerers, on MiniGym (synthetic): ``python benchmarks/core.py``.

The answerers are classifiers of the 2-D joints of MiniGym's clips that differ in method, labels, moments
seen, noise and order of the moments. Half of them choose the core, the others are ranked on it.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gym_qa.benchmark.core import agreement
from gym_qa.datasets.finegym import read_finegym
from gym_qa.minigym import ELEMENTS, SIZES, MiniGymConfig, make_minigym
from gym_qa.minigym.motion import perform
from gym_qa.minigym.scene import Athlete, Camera, Scene
from gym_qa.minigym.schedule import ClipPlan, plan
from gym_qa.questions.balance import balanced
from gym_qa.questions.questions import Question, build_questions

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


ANSWERERS = [
    *(Answerer(method, labels) for method in METHODS for labels in (100, 250, 800, 3000)),
    *(Answerer(moments=moments, labels=labels) for moments in (1, 2, 4) for labels in (300, 3000)),
    *(Answerer(noise=noise) for noise in (0.03, 0.1, 0.3)),
    Answerer(shuffled=True),
    Answerer("forest", shuffled=True),
]


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


def main() -> None:
    """Print every answerer's accuracy and how cores of several sizes rank them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 250, 500])
    parser.add_argument("--clips", choices=list(SIZES), default="full")
    config = parser.parse_args()
    size = SIZES[config.clips]
    with tempfile.TemporaryDirectory() as folder:
        data = make_minigym(MiniGymConfig(Path(folder), config.clips, videos=False))
        train, val = (
            read_finegym(None, data / "categories.txt", data / f"{part}_element.txt")
            for part in ("train", "val")
        )
    questions = build_questions(
        val.clips, val.classes, "same-set+frequency-matched", 0, train.counts(), dataset="minigym"
    )
    questions = balanced(questions, "answers")
    schedule = plan(size.train, size.val, 0)
    asked = {question.video for question in questions}
    clips = [clip for clip in schedule.val if clip.clip_id in asked]
    known = schedule.train[:3000]
    labels = np.array([clip.label for clip in known])
    seen, heard = joints(known), joints(clips)
    right = [answered_right(answerer, seen, labels, heard, questions) for answerer in ANSWERERS]
    print(f"{len(questions):,} questions about synthetic clips, {len(ANSWERERS)} answerers, accuracy in %:")
    for answerer, verdicts in sorted(zip(ANSWERERS, right, strict=True), key=lambda pair: pair[1].mean()):
        print(f"  {100 * verdicts.mean():5.1f}  {answerer}")
    rng = np.random.default_rng(0)
    whole = np.mean(right, 1)
    for count in config.sizes:
        print(f"{count} questions: {agreement(questions, [list(row) for row in right], count)}")
        drawn = [rng.permutation(len(questions))[:count] for _ in range(200)]
        random = [spearmanr(whole, np.mean(np.array(right)[:, core], 1)).statistic for core in drawn]
        low, high = np.quantile(random, [0.025, 0.975])
        print(f"  drawn at random: Spearman {np.mean(random):.3f}, 95 % of draws [{low:.3f}, {high:.3f}]")


if __name__ == "__main__":
    main()
