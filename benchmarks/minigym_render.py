"""Frames that MiniGym's renderers draw in a second of one core, and how much slower bodies are than sticks.

    OMP_NUM_THREADS=1 python benchmarks/minigym_render.py

Processor time, not the clock's, so that other programs count little; the last column compares within the run.
"""

from __future__ import annotations

import argparse
import time
from typing import get_args

from gym_qa.minigym.dataset import render_clip
from gym_qa.minigym.draw import Renderer
from gym_qa.minigym.schedule import plan


def frames_a_second(clips: list, px: int, renderer: Renderer) -> float:
    """Whole clips drawn, without encoding; the first is not counted."""
    render_clip(clips[0], px, renderer=renderer)
    begun, frames = time.process_time(), 0
    for clip in clips[1:]:
        frames += len(render_clip(clip, px, renderer=renderer)[0])
    return frames / (time.process_time() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--px", type=int, default=112)
    options = parser.parse_args()
    clips = plan(max(options.clips + 1, 50), 50, 0).train[: options.clips + 1]
    print(f"| renderer, {options.px} px | frames a CPU-second | time, sticks = 1 |\n|---|---|---|")
    rates = {kind: frames_a_second(clips, options.px, kind) for kind in get_args(Renderer)}
    for kind, rate in rates.items():
        print(f"| {kind} | {rate:.0f} | {rates['sticks'] / rate:.1f} |")


if __name__ == "__main__":
    main()
