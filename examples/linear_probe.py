"""What a frozen encoder's features tell by themselves: one vector a clip, and a linear probe on them.

    sefar-mllm make-minigym --size tiny --output data/minigym/tiny
    sefar-mllm build-qa --data data/minigym/tiny --fraction 0.5 --output runs/tiny/qa
    python examples/linear_probe.py runs/tiny/qa/train.csv runs/tiny/qa/val.csv \
      --video-root data/minigym/tiny/videos --encoder efficientnet-lite0

A trained SeFAR is ``--encoder sefar:FOLDER``. MiniGym is synthetic; any clip list with labels will do.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from encoder import Clip, VisualEncoder, open_encoder, read_clip
from encoder.video.clips import read_clips


def feature(encoder: VisualEncoder, clip: Clip) -> np.ndarray:
    """One vector ``(dim,)`` of a clip: the mean of its tokens."""
    frames = torch.from_numpy(read_clip(clip, encoder.sampling.sample))  # (T, H, W, 3) uint8
    tokens = encoder.encode(encoder.transform(frames[None]))  # (1, tokens, dim)
    return tokens[0].mean(0).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("train", type=Path, help="clip list: CSV with video and label")
    parser.add_argument("val", type=Path)
    parser.add_argument("--video-root", type=Path, help="by default each list's folder")
    parser.add_argument("--encoder", default="efficientnet-lite0")
    options = parser.parse_args()

    encoder = open_encoder(options.encoder)
    train, val = (read_clips(path, options.video_root) for path in (options.train, options.val))
    x, x_val = (np.stack([feature(encoder, clip) for clip in clips]) for clips in (train, val))
    y, y_val = ([clip.label for clip in clips] for clips in (train, val))

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(x, y)
    commonest = Counter(y).most_common(1)[0][0]
    print(f"{options.encoder}: {x.shape[1]} numbers a clip, {len(train)} clips to learn from")
    print(f"linear probe      {100 * probe.score(x_val, y_val):5.1f} % of {len(val)} clips")
    print(f"commonest class   {100 * np.mean(np.array(y_val) == commonest):5.1f} %")


if __name__ == "__main__":
    main()
