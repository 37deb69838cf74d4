"""Small data sets in the published forms of UCF-101, HMDB-51, Something-Something V2 and FineDiving."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

UCF = ["ApplyEyeMakeup", "Biking", "HandstandWalking", "PlayingGuitar", "YoYo"]
HMDB = ["brush_hair", "climb", "climb_stairs", "kick", "kick_ball", "wave"]
SOMETHING = [
    "Holding something",
    "Pushing something from left to right",
    "Pushing something from right to left",
    "Turning something upside down",
]
DIVES = ["107b", "207c", "305c", "407c", "5253b"]


def ucf101(folder: Path) -> Path:
    """Two groups of three clips a class for training, one for validation."""
    (folder / "classInd.txt").write_text("".join(f"{n} {name}\n" for n, name in enumerate(UCF, 1)), "utf-8")
    train = [
        f"{name}/v_{name}_g{group:02d}_c{clip:02d}.avi {n}\n"
        for n, name in enumerate(UCF, 1)
        for group in (8, 9)
        for clip in (1, 2, 3)
    ]
    val = [f"{name}/v_{name}_g01_c{clip:02d}.avi\n" for name in UCF for clip in (1, 2)]
    (folder / "trainlist01.txt").write_text("".join(train), "utf-8")
    (folder / "testlist01.txt").write_text("".join(val), "utf-8")
    return folder


def hmdb_lines(name: str) -> list[str]:
    """Clips of two films for training, of one for validation, and one that is not used."""
    rows = [("A_Film", 1), ("other.film-2", 1), ("Third_(HQ)", 2), ("Left", 0)]
    return [f"{title}_{name}_f_cm_np1_ba_med_{n}.avi {part} \n" for title, part in rows for n in (0, 1)]


def hmdb51(folder: Path) -> Path:
    """A list for each class, as published: a space before the line's end."""
    for name in HMDB:
        (folder / f"{name}_test_split1.txt").write_text("".join(hmdb_lines(name)), "utf-8")
    return folder


def something(folder: Path) -> Path:
    """Templates with and without brackets."""
    (folder / "labels.json").write_text(
        json.dumps({name: str(n) for n, name in enumerate(SOMETHING)}), "utf-8"
    )
    for file, first, count in (("train", 1000, 12), ("validation", 2000, 8)):
        rows = [
            {"id": str(first + n), "template": SOMETHING[n % 4].replace("something", "[something]")}
            for n in range(count)
        ]
        (folder / f"{file}.json").write_text(json.dumps(rows), "utf-8")
    return folder


def finediving(folder: Path) -> Path:
    """Three competitions, every type of dive in each, the last for validation."""
    videos = ["FINADivingWorldCup2021_Men3m_final_r1", "Women10m_r2", "Men10m_final"]
    dives = {
        (video, n): {"action_type": kind, "start_frame": 489 + 200 * n, "end_frame": 592 + 200 * n}
        for video in videos
        for n, kind in enumerate(DIVES)
    }
    keys = list(dives)
    files = {"FineDiving_coarse_annotation": dives, "train_split": keys[:10], "test_split": keys[10:]}
    for name, value in files.items():
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(value))
    return folder


MAKERS = {"ucf101": ucf101, "hmdb51": hmdb51, "something": something, "finediving": finediving}
