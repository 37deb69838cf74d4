"""The paper's tables run anew: what they vary, their data, their results, and going on after a stop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
import yaml
from encoder_videos import fading_frames, write_direction_set, write_video
from PIL import Image

import sefar_mllm.experiments.study.verb as verb
from encoder.loading.data import FrameSource, evaluation_batches
from encoder.recipes.config import RECIPES, RecipeConfig
from encoder.recipes.perturb import PERTURBATIONS
from encoder.training.config import DataConfig, ModelConfig, OptimConfig, TrainConfig
from encoder.training.evaluate import Accuracies
from encoder.training.train import train
from encoder.video.clips import read_classes, read_clips
from encoder.video.elements import TemporalElements
from encoder.visual.sefar import load_sefar
from gym_qa.datasets.cliplist import read_labels
from gym_qa.datasets.dataset import DataFiles
from gym_qa.minigym import ELEMENTS, MiniGymConfig, make_minigym
from sefar_mllm.cli import main
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.experiments.study import StudyConfig, study
from sefar_mllm.experiments.study.data import mirror_classes, write_lists
from sefar_mllm.experiments.study.picture import binned
from sefar_mllm.experiments.study.plan import Column, changed
from sefar_mllm.experiments.study.probes import (
    accuracy_by_confidence,
    accuracy_in_other_orders,
    direction_confusion,
    prediction_times,
)
from sefar_mllm.experiments.study.studies import STUDIES

SETTINGS = {
    "output": "unused",
    "data": {"labelled": "unused", "short_side": 32, "workers": 0},
    "model": {"image_size": 32, "patch_size": 16, "dim": 16, "depth": 1, "heads": 2},
    "recipe": {"warmup_epochs": 1},
    "epochs": 2,
    "labelled_batch": 2,
    "unlabelled_ratio": 1,
    "log_every": 1,
    "checkpoint_every": 0,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Two classes in UCF-101's layout, and settings of a network that trains in a second."""
    folder = tmp_path_factory.mktemp("ucf")
    (folder / "classInd.txt").write_text("1 Darker\n2 Brighter\n")
    for part, n in (("train", 12), ("test", 6)):
        lines = []
        for i in range(n):
            name = ("Darker", "Brighter")[i % 2]
            path = f"{name}/v_{name}_g{i:02d}_c{len(part):02d}.avi"
            (folder / "videos" / name).mkdir(parents=True, exist_ok=True)
            video = write_video(folder / "a.mp4", fading_frames(16, bool(i % 2), i + len(part) * 100))
            video.rename(folder / "videos" / path)
            lines.append(f"{path} {i % 2 + 1}" if part == "train" else path)
        (folder / f"{part}list01.txt").write_text("\n".join(lines) + "\n")
    (folder / "settings.yaml").write_text(yaml.safe_dump(SETTINGS))
    return folder


def options(data: Path, output: Path, name: str, **changes) -> StudyConfig:
    return StudyConfig(
        name=name,
        dataset="ucf101",
        data=data,
        settings=data / "settings.yaml",
        output=output,
        fraction=0.5,
        updates=4,
        **changes,
    )


@pytest.mark.parametrize("name", list(STUDIES))
def test_every_study_varies_options_that_there_are(name):
    plan = STUDIES[name]
    base = TrainConfig(output=Path("x"), data=DataConfig(labelled=Path("x")))
    names = [row.name for row in plan.rows]
    assert len(set(names)) == len(names)
    different = set()
    for row in plan.rows:
        assert len(row.paper) in (0, len(plan.paper_columns))
        if row.changes is not None:
            config = changed(base, row.changes)
            assert config.recipe.name in RECIPES
            assert config.augment.perturbation in PERTURBATIONS
            assert TemporalElements.parse(config.model.elements).n_frames == 8
            different.add(config)
    assert len(different) == sum(row.changes is not None for row in plan.rows)
    for columns in plan.columns.values():
        assert len({column.name for column in columns}) == len(columns)


def test_the_verb_names_every_study_and_the_tables_agree_on_what_they_share():
    assert set(get_args(verb.Names)) == set(STUDIES)
    last = {name: STUDIES[name].rows[-1] for name in STUDIES}
    assert last["recipes"].paper[0::2] == (36.7, 27.8, 72.2)
    assert last["components"].paper == last["perturbation"].paper[:3] == (36.7, 27.8, 72.2)
    assert last["labels"].paper[2] == 72.2
    assert last["recipes"].paper[5] == last["labels"].paper[-1]
    assert last["perturbation-parts"].paper == (
        last["events"].paper[2],
        last["events"].paper[4],
        36.6,
        last["sets"].paper[4],
    )
    shared = [last[name].changes for name in ("recipes", "components", "labels")]
    assert shared[0] == shared[1] == shared[2]


def test_a_table_end_to_end(data, tmp_path, capsys):
    output = tmp_path / "study"
    args = ["--dataset", "ucf101", "--data", data, "--settings", data / "settings.yaml", "--output", output]
    args += ["--seeds", "1", "--updates", "4", "--fraction", "0.5"]
    assert main(["study", "components", *map(str, args)]) == 0
    found = json.loads((output / "components" / "results.json").read_text())
    here = {row["name"]: row["here"][0]["runs"][0] for row in found["rows"]}
    for run in here.values():
        lines = (Path(run["folder"]) / "metrics.jsonl").read_text().splitlines()
        assert run["top1"] == json.loads(lines[-1])["teacher_top1"]
    none = json.loads((Path(here["none"]["folder"]) / "config.json").read_text())
    assert (none["recipe"]["name"], none["model"]["elements"], none["updates"]) == ("svformer", "8", 4)
    text = (output / "components" / "table.md").read_text()
    assert "| none | 32.6 | 22.7 | 60.4 |" in " ".join(text.split())
    assert text in capsys.readouterr().out
    assert np.asarray(Image.open(output / "components" / "picture.png").convert("L")).std() > 5


def test_runs_are_done_once_and_shared(data, tmp_path, monkeypatch):
    calls: list[TrainConfig] = []

    def pretended(config: TrainConfig) -> dict[str, Accuracies]:
        calls.append(config)
        config.output.mkdir(parents=True, exist_ok=True)
        return {"student": Accuracies(0, 0, 0), "teacher": Accuracies(len(calls) ** 2 / 10, 0, 0)}

    monkeypatch.setattr(verb, "train", pretended)
    found = study(options(data, tmp_path, "components", seeds=2))
    assert len(calls) == 8
    assert len({config.output for config in calls}) == 8
    assert found["complete"]
    here = {row["name"]: row["here"][0] for row in found["rows"]}
    assert here["none"]["top1"] == {
        "mean": pytest.approx((10 + 250) / 2),
        "std": pytest.approx(240 / 2**0.5),
        "n": 2,
    }
    assert json.loads((tmp_path / "components" / "results.json").read_text()) == json.loads(json.dumps(found))

    again = study(options(data, tmp_path, "components", seeds=2))
    assert len(calls) == 8, "finished runs are read"
    assert again == found
    table = (tmp_path / "components" / "table.md").read_text("utf-8")
    assert "130.0 ± 169.7" in table
    assert "mean ± standard deviation over 2 seeds. The paper's numbers are of other data and longer" in table
    (Path(here["none"]["runs"][1]["folder"]) / "scores.json").unlink()
    study(options(data, tmp_path, "components", seeds=2))
    assert len(calls) == 9, "an unfinished run is done again"
    study(options(data, tmp_path, "thresholds", seeds=1))
    assert len(calls) == 13, "adaptive regulation has been run before"
    assert "updates, one seed." in (tmp_path / "thresholds" / "table.md").read_text("utf-8")


def test_the_mix_loss_is_measured_at_every_weight(data, tmp_path):
    found = study(options(data, tmp_path, "mix", seeds=1))
    runs = {row["name"]: row["here"][0]["runs"][0] for row in found["rows"]}
    parts = {name: run["details"]["first"] for name, run in runs.items()}
    plain = parts["2 (SeFAR)"]
    for name, times in (("none", 0), ("20", 10), ("200", 100)):  # the warm-up knows no mix loss
        for loss, factor in (("sup", 1), ("un", 1), ("mix", times)):
            expected = [factor * norm for norm in plain[loss]["norm"]]
            assert parts[name][loss]["norm"] == pytest.approx(expected, rel=1e-3)
    assert runs["none"]["details"]["last"]["mix"]["norm"] == [0, 0]
    for run in runs.values():
        for when in ("first", "last"):
            shares = [part["share"] for part in run["details"][when].values()]
            assert np.sum(shares, axis=0) == pytest.approx([1, 1])
    table = (tmp_path / "mix" / "table.md").read_text()
    cells = next(line for line in table.splitlines() if line.startswith("| 200 ")).split()
    assert cells[7] == f"{100 * np.mean(runs['200']['details']['last']['mix']['share']):.1f}"


def test_all_rows_of_a_seed_have_the_same_labels_and_seeds_have_others(data, tmp_path):
    files = DataFiles(dataset="ucf101", data=data)
    lists = [
        write_lists(tmp_path / str(i), files, Column("all"), 0.5, seed, data / "videos", False)
        for i, seed in enumerate((0, 0, 1))
    ]
    texts = [lists_.labelled.read_text() for lists_ in lists]
    assert texts[0] == texts[1] != texts[2]
    assert len(read_clips(lists[0].labelled, data / "videos")) == 6


def test_accuracy_against_confidence_is_that_of_the_teachers_predictions(data, tmp_path):
    found = study(options(data, tmp_path, "confidence", seeds=1))
    run = found["rows"][0]["here"][0]["runs"][0]
    folder = Path(run["folder"])
    lists = tmp_path / "lists" / "confidence-classes-0"
    network = load_sefar(folder / "teacher").eval()
    torch.manual_seed(0)
    clips = read_clips(lists / "val.csv", data / "videos")
    batch = next(iter(evaluation_batches(clips, FrameSource(32), network.elements, 6, 0, 1, 0)))
    with torch.no_grad():
        network.head.train()
        x = network.transform(batch.frames, batch.sizes)
        # Whole forward passes with dropout: the distribution that the probe samples by the head alone.
        each = torch.stack([network(x).softmax(-1) for _ in range(400)])
    top = each.mean(0).max(1)
    assert run["details"]["p"] == pytest.approx(top.values.tolist(), abs=0.08)
    deviation = each.std(0).gather(1, top.indices[:, None])[:, 0]
    assert np.mean(run["details"]["s"]) == pytest.approx(float(deviation.mean()), rel=0.5)
    assert len(run["details"]["right"]) == 6
    assert (tmp_path / "confidence" / "picture.png").stat().st_size > 1000
    heads = (tmp_path / "confidence" / "table.md").read_text().splitlines()[2]
    assert "here: classes" in heads
    assert "mean deviation" in heads


def test_bins_hold_equally_many_clips():
    x, accuracy = binned(np.array([0.9, 0.1, 0.2, 0.8]), np.array([1, 0, 1, 1]), bins=2)
    assert x == pytest.approx([0.15, 0.85])
    assert accuracy == [50, 100]


def direction_run(tmp_path: Path, clips: int) -> TrainConfig:
    """A short training on videos whose two classes differ in direction alone."""
    write_direction_set(tmp_path, 8, "train")
    write_direction_set(tmp_path, clips, "val", seed=3)
    names = [{"name": f"salto {way} tucked"} for way in ("forward", "backward")]
    (tmp_path / "classes.json").write_text(json.dumps(names))
    return TrainConfig(
        output=tmp_path / "run",
        data=DataConfig(
            labelled=tmp_path / "train.csv",
            val=tmp_path / "val.csv",
            classes=tmp_path / "classes.json",
            short_side=32,
            workers=0,
        ),
        model=ModelConfig(image_size=32, patch_size=16, dim=16, depth=1, heads=2),
        recipe=RecipeConfig("supervised"),
        optim=OptimConfig("adamw", 1e-3),
        epochs=1,
        updates=3,
        labelled_batch=4,
        evaluate_every=0,
        log_every=1,
    )


def test_confusion_of_directions(tmp_path):
    config = direction_run(tmp_path, 6)
    scores = train(config)
    found = direction_confusion(config.output, config)
    counts = np.array(found.details["counts"])
    assert counts.sum() == 6
    assert 100 * np.trace(counts) / 6 == pytest.approx(100 * scores["student"].top1)
    assert found.figures["taken for the mirror class"] == pytest.approx(100 - 100 * scores["student"].top1)
    assert set(accuracy_by_confidence(config.output, config).details["right"]) <= {0, 1}
    assert prediction_times(config.output, config).figures["teacher ms"] > 0


def test_accuracy_in_other_orders_is_that_of_clips_put_in_them_by_hand(tmp_path):
    config = direction_run(tmp_path, 40)
    train(config)
    network = load_sefar(config.output / "student").eval()
    torch.manual_seed(1)
    with torch.no_grad():
        network.backbone.time_embed.normal_()  # three updates have not taught it to look at the order
        for block in network.backbone.blocks:
            block.temporal_fc.weight.normal_()
    clips = read_clips(tmp_path / "val.csv")
    batch = next(iter(evaluation_batches(clips, FrameSource(32), network.elements, 40, 0, 1, 0)))
    x = network.transform(batch.frames, batch.sizes)
    with torch.no_grad():  # each class for half of the clips
        network.head.classifier.bias[1] -= network(x).diff(dim=1).median()
    network.save_pretrained(config.output / "student")
    # 2-2-4: the fine elements hold slots 3, 7 and 1, 5.
    orders = ([0, 1, 2, 3, 4, 5, 6, 7], [0, 5, 2, 7, 4, 1, 6, 3], [7, 6, 5, 4, 3, 2, 1, 0])
    with torch.no_grad():
        hits = [(network(x[:, order]).argmax(1) == batch.labels).double().mean() for order in orders]
    as_filmed, fine, reverse = (100 * float(share) for share in hits)
    assert len({as_filmed, fine, reverse}) == 3
    assert list(accuracy_in_other_orders(config.output, config).figures.values()) == [
        pytest.approx(fine),
        pytest.approx(reverse),
    ]


@pytest.fixture(scope="module")
def minigym(tmp_path_factory) -> DataFiles:
    """MiniGym's annotation without its videos."""
    folder = tmp_path_factory.mktemp("minigym") / "tiny"
    make_minigym(MiniGymConfig(output=folder, size="tiny", videos=False))
    return DataFiles(data=folder)


@pytest.mark.parametrize("name", ["events", "sets", "coarse", "labels", "perturbation-parts", "directions"])
def test_the_parts_of_minigym(name, minigym, tmp_path):
    whole = write_lists(tmp_path / "all", minigym, Column("all"), 0.3, 0, tmp_path, False)
    n_clips = len(read_labels(whole.labelled)) + len(read_labels(whole.unlabelled))
    element_of = {clip: label for _, clip, label in read_labels(whole.unlabelled)}
    for column in STUDIES[name].columns["minigym"]:
        lists = write_lists(tmp_path / "part", minigym, column, 0.3, 0, tmp_path, False)
        classes = read_classes(lists.classes)
        rows = read_labels(lists.unlabelled)
        assert {label for *_, label in rows} <= set(range(len(classes)))
        for _, clip, label in rows:
            if clip in element_of:
                element = ELEMENTS[element_of[clip]]
                if column.coarse == "event":
                    assert classes[label].name == classes[label].event
                elif column.coarse == "set":
                    assert classes[label].set == element.set_id
                else:
                    assert classes[label].name == element.name
        everything = len(read_labels(lists.labelled)) + len(rows)
        part = column.files or {}
        assert (everything < n_clips) == bool(part)
        if name == "coarse":
            assert len(classes) == {"sets": 6, "events": 3}[column.name]
        if name == "directions":
            assert len(classes) == 22
            assert all(" forward" in c.name or " backward" in c.name for c in classes)


def test_mirror_classes_go_both_ways(minigym, tmp_path):
    from gym_qa.datasets.table import read_classes as read_coded

    lists = write_lists(tmp_path, minigym, Column("all"), 0.3, 0, tmp_path, False)
    mirrors = mirror_classes(read_coded(lists.classes))
    for label, other in enumerate(mirrors):
        if other >= 0:
            assert mirrors[other] == label
            a, b = ELEMENTS[label], ELEMENTS[other]
            assert a.direction == -b.direction != 0
            assert (a.event, a.shape, a.turns, a.saltos) == (b.event, b.shape, b.turns, b.saltos)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--settings", "none.yaml"], "none.yaml: no such file"),
        (["--seeds", "0"], "seeds: expected at least 1"),
        (["--dataset", "ucf101", "--data", "."], "classInd.txt"),
    ],
)
def test_bad_options_are_named(args, message, data, tmp_path, capsys):
    given = {"--settings": str(data / "settings.yaml"), "--output": str(tmp_path), "--data": str(data)}
    given |= dict(zip(args[::2], args[1::2], strict=True))
    assert main(["study", "components", *(part for pair in given.items() for part in pair)]) == 2
    assert message in capsys.readouterr().err


def test_a_study_of_parts_that_the_data_have_not(data, tmp_path):
    with pytest.raises(SefarMLLMError, match=r"parts of minigym, finegym.*given is ucf101"):
        study(options(data, tmp_path, "directions"))
