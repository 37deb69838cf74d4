"""The verb ``compare`` on tiny videos and a tiny language model: its steps, its table, and starting again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import vision_models
from encoder_videos import fading_frames, write_video
from mllm_sources import easy_questions, question_file

import sefar_mllm.experiments.compare
from encoder.features.store import FeatureStore
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.experiments.compare import (
    TEXT_ONLY,
    CompareConfig,
    Sources,
    compare,
    finetuning,
    named_encoders,
    slug,
    store,
)
from sefar_mllm.experiments.compare_table import PUBLISHED, published_rows
from sefar_mllm.experiments.minigym import budget, finetuning_values
from sefar_mllm.finetuning.config import FinetuneConfig
from sefar_mllm.model.prompts import PromptConfig
from sefar_mllm.report import read_results

ENCODER = "small=efficientnet-lite0?image_size=32"


@pytest.fixture(scope="module")
def config(tmp_path_factory, language_model) -> CompareConfig:
    folder = tmp_path_factory.mktemp("compare")
    train, val = easy_questions(6), easy_questions(10, "val")
    for number, question in enumerate([*train, *val]):
        write_video(folder / f"{question.video}.mp4", fading_frames(8, bool(number % 2), number))
    return CompareConfig(
        encoders=[ENCODER],
        output=folder / "run",
        train_questions=question_file(folder / "train.jsonl", train),
        questions=question_file(folder / "val.jsonl", val),
        video_root=folder,
        seeds=2,
        finetune={
            "language_model": str(language_model),
            "precision": "fp32",
            "max_steps": 2,
            "align_steps": 5,
            "prompt": {"list_options": False},
            "trainer": {"disable_tqdm": True},
        },
        features={"workers": 0},
    )


@pytest.fixture(scope="module")
def finished(config) -> Path:
    compare(config)
    return config.output


def test_the_table_holds_encoders_controls_and_the_papers_figures(config, finished):
    rows = read_results(finished / "results.json")
    ours = [row for row in rows if row.questions not in {p.questions for p in published_rows()}]
    names = {row.encoder for row in ours}
    assert names >= {
        "small",
        "language model alone",
        "small: no video",
        "small: another clip's video",
        "small: frames shuffled",
        "small: frames reversed",
        "small: right in every order of options",
        "chance",
        "majority letter",
    }
    assert [row.encoder for row in ours if not row.control] == ["small"]
    measured = ours[0]
    by_seed = [
        json.loads((finished / f"answers/small/seed-{seed}/metrics.json").read_text(encoding="utf-8"))
        for seed in range(2)
    ]
    assert measured.accuracy == pytest.approx(np.mean([one["accuracy"] for one in by_seed]))
    assert measured.seed_std == pytest.approx(np.std([one["accuracy"] for one in by_seed], ddof=1))
    assert measured.seeds == 2
    # Without the list of options their order changes nothing.
    every = next(row for row in ours if row.encoder.endswith("order of options"))
    assert every.accuracy == measured.accuracy
    assert "their order changes nothing" in every.note
    assert not measured.note
    assert (finished / "report.html").is_file()
    assert "CLIP ViT-L/16" in (finished / "report.md").read_text(encoding="utf-8")


def test_started_again_it_does_nothing_twice(config, finished, monkeypatch, caplog):
    caplog.set_level("INFO", "sefar_mllm")

    def fail(*_):
        raise AssertionError("a finished step was run again")

    monkeypatch.setattr(sefar_mllm.experiments.compare, "finetune", fail)
    monkeypatch.setattr(sefar_mllm.experiments.compare, "evaluate", fail)
    before = (finished / "results.json").read_bytes()
    compare(config)
    assert (finished / "results.json").read_bytes() == before
    assert "done before" in caplog.text
    with pytest.raises(SefarMLLMError, match="another --output"):
        compare(replace(config, circular=False))
    with pytest.raises(AssertionError, match="run again"):  # a new encoder's steps are to be done
        compare(replace(config, encoders=[ENCODER, "other=efficientnet-lite0?image_size=32"]))


def test_a_video_model_named_twice_has_two_rows(config, tmp_path):
    """At the frames of all, and at as many as it was made for."""
    spec = f"hf:{vision_models.saved(vision_models.vjepa2, tmp_path)}"
    controls = dict.fromkeys(("text_only", "no_video", "other_video", "frame_orders", "circular"), False)
    encoders = [f"Eight={spec}", f"Native={spec}?frames=native"]
    twice = replace(config, encoders=encoders, output=tmp_path / "run", seeds=1, **controls)
    compare(twice)
    rows = read_results(twice.output / "results.json")
    assert [row.encoder for row in rows if row.questions == rows[0].questions][:2] == ["Eight", "Native"]
    stores = [FeatureStore.open(store(twice, name)) for name in ("Eight", "Native")]
    assert [features.num_tokens for features in stores] == [4, 8]


def test_names_of_encoders():
    assert named_encoders(["A b=sefar:x", "timm:vit?grid=2", "efficientnet-lite0?grid=2"]) == {
        "A b": "sefar:x",
        "timm:vit?grid=2": "timm:vit?grid=2",
        "efficientnet-lite0?grid=2": "efficientnet-lite0?grid=2",
    }
    twice = named_encoders(["J=hf:a/j", "J native=hf:a/j?frames=native", "hf:a/j?frames=native"])
    assert list(twice) == ["J", "J native", "hf:a/j?frames=native"]
    assert twice["J native"] == "hf:a/j?frames=native"
    with pytest.raises(SefarMLLMError, match="stands twice"):
        named_encoders(["timm:a", "timm:a"])
    with pytest.raises(SefarMLLMError, match="at least one"):
        named_encoders([])
    assert len({slug(name) for name in ("a/b", "a b", "a:b", "a_b", "A.b")}) == 5
    assert all("/" not in slug(name) for name in ("a/b", "../x"))


def test_settings_are_minigyms_on_minigym_and_the_defaults_elsewhere(config):
    sources = Sources(Path("q"), Path("v"), Path("videos"), None)
    minigym, own = CompareConfig(["efficientnet-lite0"], finetune={"max_steps": 7}), config
    for name in ("efficientnet-lite0", TEXT_ONLY):
        found = finetuning(minigym, sources, name, 3)
        assert (found.max_steps, found.seed, found.questions) == (7, 3, Path("q"))
        assert found.projector_learning_rate == finetuning_values("mini")["projector_learning_rate"] == 1e-5
        assert found.align_steps == (0 if name == TEXT_ONLY else budget("mini").align_steps)
        assert (found.features is None) == (name == TEXT_ONLY)
        elsewhere = finetuning(replace(own, finetune={"prompt": {"answer": "letter"}}), sources, name, 0)
        default = FinetuneConfig(questions=Path("q"), output=elsewhere.output)
        assert elsewhere.learning_rate == default.learning_rate
        assert elsewhere.prompt == PromptConfig(answer="letter")
    encoders = [finetuning(minigym, sources, name, 0) for name in ("one", "other")]
    one, other = (replace(fine, output=Path(), features=None) for fine in encoders)
    assert one == other  # the compared encoders differ in their features alone
    for values, message in (
        ({"max_step": 7}, "no setting 'max_step'"),
        ({"max_steps": "many"}, "finetune: .*max_steps"),
    ):
        with pytest.raises(SefarMLLMError, match=message):
            finetuning(replace(minigym, finetune=values), sources, "one", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": 0}, "seeds >= 1, and train_questions"),
        ({"video_root": None}, "seeds >= 1, and train_questions"),
        ({"features": {"view": 2}}, "features: no setting 'view'"),
        ({"finetune": {"step": 2}}, "finetune: no setting 'step'"),
    ],
)
def test_contradictions_are_refused_before_anything_is_written(config, tmp_path, change, message):
    with pytest.raises(SefarMLLMError, match=message):
        compare(replace(config, output=tmp_path / "new", **change))
    assert not (tmp_path / "new").exists()


def test_published_figures_are_the_papers():
    rows = {(row.encoder, row.questions.split(": ")[1]): row.accuracy for row in published_rows()}
    assert rows["SeFAR", "Gym-QA-99"] == pytest.approx(0.49)
    assert rows["CLIP ViT-L/16", "Gym-QA-288"] == pytest.approx(0.41)
    assert len(rows) == 2 * len(PUBLISHED)
