"""What one frame tells of a MiniGym class: perfect 3D joints of the whole training list, classified.

The strongest per-frame classifier there is: it is given the true joints in camera coordinates and the
apparatus, so that what it misses is not in the frame. Figures are of synthetic data.

    python benchmarks/minigym_single_frame.py --size mini
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from gym_qa.minigym import ELEMENTS, SIZES
from gym_qa.minigym.dataset import render_clip
from gym_qa.minigym.schedule import ClipPlan, plan

MOMENTS = 8


def joints(clips: list[ClipPlan], px: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joints ``(N, 8, 17, 3)`` at the middles of eight bins, events one-hot ``(N, 3)``, labels ``(N,)``."""
    points = []
    for clip in tqdm(clips, desc="joints", unit="clip"):
        chosen = ((np.arange(MOMENTS) + 0.5) * clip.frames / MOMENTS).astype(int)
        points.append(render_clip(clip, px, chosen)[1])
    labels = np.array([clip.label for clip in clips])
    events = np.eye(3)[[ELEMENTS[label].event - 2 for label in labels]]
    return np.stack(points), events, labels


def classifier() -> object:
    return make_pipeline(StandardScaler(), MLPClassifier((256,), alpha=1e-3, max_iter=60, random_state=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=list(SIZES), default="mini")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    size = SIZES[options.size]
    schedule = plan(size.train, size.val, options.seed)
    (x, a, y), (v, b, w) = joints(schedule.train, size.px), joints(schedule.val, size.px)
    one = [np.concatenate([(x[:, k] - x[:, k, :1]).reshape(len(x), -1), a], 1) for k in range(MOMENTS)]
    two = [np.concatenate([(v[:, k] - v[:, k, :1]).reshape(len(v), -1), b], 1) for k in range(MOMENTS)]
    print(f"MiniGym {options.size} (synthetic), {len(ELEMENTS)} classes, {len(y)} train, {len(w)} val clips")
    print("| true joints and apparatus of | top-1 (%) |\n|---|---|")
    for k in range(MOMENTS):
        score = classifier().fit(one[k], y).score(two[k], w)  # type: ignore[attr-defined]
        print(f"| frame {k + 1} of {MOMENTS}, its own classifier | {100 * score:.1f} |", flush=True)
    any_frame = classifier().fit(np.concatenate(one), np.tile(y, MOMENTS))  # type: ignore[attr-defined]
    logs = [np.log(any_frame.predict_proba(frame) + 1e-9) for frame in two]
    single = np.mean([(log.argmax(1) == w).mean() for log in logs])
    print(f"| any one frame, one classifier for all | {100 * single:.1f} |")
    print(f"| all 8 frames, their order unknown | {100 * (np.mean(logs, 0).argmax(1) == w).mean():.1f} |")
    flat = [np.concatenate([p.reshape(len(p), -1), e], 1) for p, e in ((x, a), (v, b))]
    score = classifier().fit(flat[0], y).score(flat[1], w)  # type: ignore[attr-defined]
    print(f"| all 8 frames in order | {100 * score:.1f} |")


if __name__ == "__main__":
    main()
