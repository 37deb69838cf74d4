"""Views, crops, measures and files of the encoder's evaluation."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from encoder_videos import write_video
from PIL import Image
from safetensors.torch import load_file

from encoder.model.sefar import SefarEncoder
from encoder.video.clips import ClassInfo, read_clips
from encoder.video.elements import TemporalElements
from encoder.video.reader import read_clip
from sefar_mllm.cli import main
from sefar_mllm.evaluation.evaluate_encoder import measures
from sefar_mllm.report.confusion_picture import class_order
from sefar_mllm.statistics import confusion_counts, wilson_interval

CLASSES = [
    {"name": "a", "event": "UB", "set": 41},
    {"name": "b", "event": "FX", "set": 21},
    {"name": "c", "event": "UB", "set": 42},
]
SHAPE = {"image_size": 16, "patch_size": 8, "dim": 16, "depth": 1, "heads": 2}


def tiny(seed: int) -> SefarEncoder:
    """A network of random weights whose frames and their order matter."""
    torch.manual_seed(seed)
    network = SefarEncoder(3, SHAPE, classes=[entry["name"] for entry in CLASSES])
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return network.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    rng = np.random.default_rng(0)
    rows = ["video,label"]
    for i, (n, height, width) in enumerate(
        [(50, 32, 64), (37, 48, 32), (6, 32, 32), (24, 32, 64), (81, 32, 40)]
    ):
        frames = np.repeat(rng.integers(0, 255, (n, height // 16, width // 16, 3)), 16, 1).repeat(16, 2)
        write_video(folder / f"clip{i}.mp4", frames.astype(np.uint8))
        rows.append(f"clip{i}.mp4,{i % 3}")
    (folder / "val.csv").write_text("\n".join(rows) + "\n")
    (folder / "classes.json").write_text(json.dumps(CLASSES))
    for seed, name in enumerate(("student", "teacher")):
        tiny(seed).save_pretrained(folder / "run" / name)
    return folder


def slowly(network: SefarEncoder, folder: Path, views: int, crops: int) -> torch.Tensor:
    """One clip, one view and one crop at a time."""
    rows = []
    for clip in read_clips(folder / "val.csv"):
        frames, each = read_clip(clip, None, 32), []
        for view in range(views):
            chosen = network.elements.sample(len(frames), offset=(view + 0.5) / views)
            x = network.transform(torch.from_numpy(frames[chosen][None]), n_crops=crops)
            each += [network(crop[None]).softmax(-1)[0] for crop in x]
        rows.append(torch.stack(each).mean(0))
    return torch.stack(rows).detach()


@pytest.mark.parametrize(("views", "crops"), [(1, 1), (5, 3)])
def test_views_and_crops_are_averaged_as_one_by_one(views, crops, folder, tmp_path, capsys):
    args = ["--encoder", str(folder / "run"), "--clips", str(folder / "val.csv"), "--short-side", "32"]
    args += ["--views", str(views), "--crops", str(crops), "--batch", "2", "--workers", "0"]
    assert main(["evaluate-encoder", *args, "--output", str(tmp_path / "a")]) == 0
    found = load_file(tmp_path / "a" / "probabilities.safetensors")
    for name in ("student", "teacher"):
        network = SefarEncoder.from_pretrained(folder / "run" / name).eval()
        torch.testing.assert_close(found[name], slowly(network, folder, views, crops), rtol=1e-4, atol=1e-5)
    assert found["labels"].tolist() == [0, 1, 2, 0, 1]
    results = json.loads((tmp_path / "a" / "results.json").read_text())
    right = int((found["teacher"].argmax(1) == found["labels"]).sum())
    low, high = wilson_interval(right, 5)
    expected = {"accuracy": right / 5, "low": low, "high": high}
    assert results["networks"]["teacher"]["top1"] == pytest.approx(expected)
    assert f"teacher: top-1 {20 * right:.1f}" in capsys.readouterr().out
    assert main(["evaluate-encoder", *args, "--output", str(tmp_path / "b")]) == 0
    for name in ("probabilities.safetensors", "confusion-student.png", "predictions.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_one_network_its_predictions_and_its_picture(folder, tmp_path):
    args = ["--encoder", str(folder / "run" / "teacher"), "--clips", str(folder / "val.csv")]
    assert main(["evaluate-encoder", *args, "--output", str(tmp_path), "--workers", "0"]) == 0
    scores = load_file(tmp_path / "probabilities.safetensors")["teacher"]
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    assert [row["clip"] for row in rows] == [f"clip{i}" for i in range(5)]
    assert [int(row["teacher_label"]) for row in rows] == scores.argmax(1).tolist()
    pixels = np.asarray(Image.open(tmp_path / "confusion-teacher.png").convert("RGB"))
    assert pixels.std() > 5
    assert json.loads((tmp_path / "results.json").read_text())["networks"].keys() == {"teacher"}


def test_temporal_views_part_the_bins():
    elements = TemporalElements()
    assert elements.sample(40, offset=0.5) == elements.sample(40)
    views = [elements.sample(40, offset=(v + 0.5) / 5) for v in range(5)]
    assert sorted(i for view in views for i in view) == list(range(40))


def test_measures_by_hand():
    classes = [ClassInfo(c["name"], c["event"], c["set"]) for c in CLASSES]
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    predicted = torch.tensor([0, 0, 1, 1, 2, 0])
    scores = torch.full((6, 3), 0.1).scatter(1, predicted[:, None], 0.8)
    found = measures(scores, labels, classes)
    assert found.top1.accuracy == pytest.approx(4 / 6)
    assert found.top5.accuracy == 1
    assert found.mean_class.accuracy == pytest.approx((2 / 3 + 1 + 1 / 2) / 3)
    assert found.mean_class.low < found.mean_class.accuracy < found.mean_class.high
    assert [(g.key, g.correct, g.n) for g in found.events] == [("FX", 1, 1), ("UB", 3, 5)]
    assert [(g.key, g.correct, g.n) for g in found.sets] == [
        ("21", 1, 1),
        ("41", 2, 3),
        ("42", 1, 2),
    ]
    assert confusion_counts(predicted, labels, 3).tolist() == [[2, 1, 0], [0, 1, 0], [1, 0, 1]]
    assert class_order(classes) == [0, 2, 1]
    without = measures(scores, labels, [ClassInfo(c.name) for c in classes])
    assert without.events == without.sets == []


def test_the_interval_of_the_class_mean_holds_the_truth_as_often_as_it_says():
    """5 classes of unequal size with known accuracies, 400 draws: near 95 % of the intervals hold it."""
    rng = np.random.default_rng(1)
    sizes, truth = [8, 15, 30, 60, 100], [0.9, 0.5, 0.7, 0.3, 0.6]
    classes = [ClassInfo(str(i)) for i in range(5)]
    labels = torch.tensor(np.repeat(range(5), sizes))
    held = 0
    for _ in range(400):
        right = torch.from_numpy(rng.random(len(labels)) < np.repeat(truth, sizes))
        scores = torch.nn.functional.one_hot(torch.where(right, labels, (labels + 1) % 5), 5).float()
        found = measures(scores, labels, classes).mean_class
        held += found.low <= np.mean(truth) <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_classes_that_are_not_the_networks_are_refused(folder, tmp_path, capsys):
    other = tmp_path / "classes.json"
    other.write_text(json.dumps(CLASSES[::-1]))
    args = ["--encoder", str(folder / "run"), "--clips", str(folder / "val.csv"), "--classes", str(other)]
    assert main(["evaluate-encoder", *args, "--output", str(tmp_path / "out")]) == 2
    assert "3 classes that are not the 3 that" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
