"""Tiny videos made on the spot, and clip lists of them, for the encoder's tests."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np


def write_video(path: Path, frames: np.ndarray, fps: int = 25, options: dict[str, str] | None = None) -> Path:
    """Encodes frames ``(n, H, W, 3)`` uint8 as H.264."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "10"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def counting_frames(n: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Frames whose grey value rises by 4 a frame, so that a frame tells its number."""
    return (
        (np.arange(n, dtype=np.uint8) * 4 + 20)[:, None, None, None]
        .repeat(height, 1)
        .repeat(width, 2)
        .repeat(3, 3)
    )


def fading_frames(n: int, brighter: bool, seed: int, size: int = 32) -> np.ndarray:
    """Noise that grows brighter or darker: every frame occurs in both directions."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(30, 220, n)
    levels = (ramp if brighter else ramp[::-1])[:, None, None, None]
    return np.clip(levels + rng.integers(-25, 25, (n, size, size, 3)), 0, 255).astype(np.uint8)


def write_direction_set(folder: Path, n: int, name: str, seed: int = 0) -> Path:
    """A clip list of ``n`` videos of two classes that no single frame tells apart."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["video,label"]
    for i in range(n):
        video = folder / f"{name}{i}.mp4"
        write_video(video, fading_frames(16, bool(i % 2), 1000 * seed + i))
        rows.append(f"{video.name},{i % 2}")
    (folder / f"{name}.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    classes = [
        {"name": "darker", "event": "FX", "set": 21},
        {"name": "brighter", "event": "FX", "set": 21},
    ]
    (folder / "classes.json").write_text(json.dumps(classes), encoding="utf-8")
    return folder / f"{name}.csv"
