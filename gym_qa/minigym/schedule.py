"""Who performs what, when: source videos, routines and elements, in FineGym's own annotation formats."""

from __future__ import annotations

import json
import string
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gym_qa.files import write_text
from gym_qa.minigym.elements import ELEMENTS, SETS

FPS = 25
ID_LETTERS = string.ascii_letters + string.digits + "_-"
TAIL = 0.55  # class k of the long tail is (k + 1) ** -TAIL as frequent as the commonest


@dataclass(frozen=True)
class ClipPlan:
    """One element of one routine.

    Attributes:
        clip_id: ``<video>_E_SSSSSS_EEEEEE_A_SSSS_EEEE``.
        label: index into ``ELEMENTS``.
        frames: length in frames at ``FPS``.
        seeds: of the venue (one per source video), the athlete (one per routine) and this clip.
    """

    clip_id: str
    label: int
    frames: int
    seeds: tuple[int, int, int]


@dataclass(frozen=True)
class Schedule:
    """Every clip of a data set and its FineGym-format annotation."""

    train: list[ClipPlan]
    val: list[ClipPlan]
    annotation: dict[str, dict]


def class_frequencies(rng: np.random.Generator) -> np.ndarray:
    """Long-tailed probabilities: a power law over a random order of the classes."""
    weights = (1.0 + np.arange(len(ELEMENTS))) ** -TAIL
    return rng.permutation(weights / weights.sum())


def plan(train: int, val: int, seed: int) -> Schedule:
    """Plan ``train`` and ``val`` clips; no source video is on both sides, the arguments decide all."""
    rng = np.random.default_rng([seed, 0])
    frequencies = class_frequencies(rng)
    annotation: dict[str, dict] = {}
    train_clips = _side(train, frequencies, rng, annotation)
    return Schedule(train_clips, _side(val, frequencies, rng, annotation), annotation)


def _side(count: int, frequencies: np.ndarray, rng: np.random.Generator, annotation: dict) -> list[ClipPlan]:
    """Clips of one side. Class counts are the rounded long tail, every class at least once."""
    counts = np.maximum(1, np.floor(frequencies * count).astype(int))
    while counts.sum() != count:
        counts[np.argmax(counts) if counts.sum() > count else rng.integers(len(counts))] += np.sign(
            count - counts.sum()
        )
    events = np.array([e.event for e in ELEMENTS])
    waiting = {
        int(e): rng.permutation(np.repeat(np.arange(len(ELEMENTS)), counts * (events == e))).tolist()
        for e in set(events)
    }
    clips: list[ClipPlan] = []
    while any(waiting.values()):
        video = "".join(rng.choice(list(ID_LETTERS), 11))
        venue, clock, routines = int(rng.integers(2**31)), float(rng.uniform(20, 300)), {}
        for _ in range(rng.integers(3, 7)):
            left = [event for event, labels in waiting.items() if labels]
            if not left:
                break
            weights = np.array([len(waiting[event]) for event in left], float)
            event = int(rng.choice(left, p=weights / weights.sum()))
            name, routine, made = _routine(video, event, waiting[event], clock, venue, rng)
            routines[name] = routine
            clips += made
            clock = routine["timestamps"][0][1] + float(rng.uniform(20, 90))
        annotation[video] = routines
    return clips


def _routine(
    video: str, event: int, labels: list[int], clock: float, venue: int, rng: np.random.Generator
) -> tuple[str, dict, list[ClipPlan]]:
    """One routine: takes up to nine labels from the end of ``labels`` and lays them out in time."""
    athlete, now, segments, spans = int(rng.integers(2**31)), 0.0, {}, []
    for _ in range(min(len(labels), int(rng.integers(4, 10)))):
        label, frames = labels.pop(), int(rng.integers(28, 62))
        start = round(now + float(rng.uniform(1.1, 4.0)), 2)
        now = round(start + frames / FPS, 2)
        name = f"A_{int(start):04d}_{int(np.ceil(now)):04d}"
        segments[name] = {"stages": 1, "timestamps": [[start, now]]}
        spans.append((name, label, frames))
    begin = round(clock, 2)
    end = round(begin + now + float(rng.uniform(1, 3)), 2)
    routine = f"E_{int(begin):06d}_{int(np.ceil(end)):06d}"
    clips = [
        ClipPlan(f"{video}_{routine}_{name}", label, frames, (venue, athlete, int(rng.integers(2**31))))
        for name, label, frames in spans
    ]
    return routine, {"event": event, "timestamps": [[begin, end]], "segments": segments}, clips


def write_annotation(schedule: Schedule, folder: Path) -> None:
    """Write the five FineGym-format files of a schedule into ``folder``."""
    categories = [
        f"Clabel: {label:>3}; set: {e.set_id:>2}; Glabel: {label + 1:>3}; {e.name}"
        for label, e in enumerate(ELEMENTS)
    ]
    texts = {
        "annotation_info.json": json.dumps(schedule.annotation, separators=(",", ":")),
        "categories.txt": "\n".join(categories) + "\n",
        "set_categories.txt": "".join(f"set: {number}; {name}\n" for number, name in SETS.items()),
        "train_element.txt": "".join(f"{clip.clip_id} {clip.label}\n" for clip in schedule.train),
        "val_element.txt": "".join(f"{clip.clip_id} {clip.label}\n" for clip in schedule.val),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
