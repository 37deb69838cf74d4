"""Whole multimodal models: what would reach the model otherwise than it was chosen is refused or told."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tiny_multimodal import ASKED, TIMES, loaded, shot

from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.inference.multimodal import WholeModel, WholeModelConfig
from sefar_mllm.inference.multimodal_answers import Answerer

QUICK = tuple(number / 8 for number in range(8))  # seconds: a clip of one second

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def family(tmp_path_factory):
    return lambda name: loaded(name, tmp_path_factory)


def again(whole: WholeModel, **settings: object) -> WholeModel:
    """The same model asked otherwise."""
    return WholeModel(whole.name, WholeModelConfig(**settings))  # type: ignore[arg-type]


def test_frames_that_would_share_a_time_are_refused(family):
    whole = family("Qwen2.5-VL")
    with pytest.raises(SefarMLLMError, match=r"share positions in time, of which there are \d: .*time_scale"):
        Answerer(whole).scores(whole.inputs(ASKED, shot(times=QUICK)), ASKED)
    with pytest.raises(SefarMLLMError, match="share positions"):
        Answerer(whole).reply(whole.inputs(ASKED, shot(times=QUICK)), ASKED.options)


@pytest.mark.parametrize("settings", [{"time_scale": 8.0}, {"show": "images"}])
def test_what_the_refusal_advises_helps(family, settings):
    whole = again(family("Qwen2.5-VL"), **settings)
    assert Answerer(whole).scores(whole.inputs(ASKED, shot(times=QUICK)), ASKED)["letter"]


def test_a_processor_that_drops_frames_is_refused(family, monkeypatch):
    whole = again(family("InternVL"))
    kind = type(whole.processor.video_processor)
    kept = kind._preprocess

    def drop(self, videos, **settings):
        return kept(self, [video[::2] for video in videos], **settings)

    monkeypatch.setattr(kind, "_preprocess", drop)
    with pytest.raises(SefarMLLMError, match=r"of 6 frames 3 do not reach the model \(number 2, 4, 6\)"):
        whole.inputs(ASKED, shot())


def test_true_times_are_told(family):
    whole = family("Qwen3-VL")
    text = whole.tokenizer.decode(whole.inputs(ASKED, shot())["input_ids"][0])
    pairs = zip(TIMES[::2], TIMES[1::2], strict=True)
    # Two frames are one step, which has the mean of their times.
    expected = [(first + second) / 2 for first, second in pairs]
    assert [float(t) for t in re.findall(r"<([\d.]+) seconds>", text)] == pytest.approx(expected, abs=0.05)


def test_a_clip_of_unknown_times_is_refused_where_times_are_told(family):
    timeless = replace(shot(), seconds=())
    with pytest.raises(SefarMLLMError, match=r"clip: .* is told when each frame is shown.*'rate'"):
        family("Qwen3-VL").inputs(ASKED, timeless)
    assert "pixel_values_videos" in family("Video-LLaVA").inputs(ASKED, timeless)


def test_a_wrong_cache_is_not_used(family, monkeypatch, caplog):
    caplog.set_level("INFO", "sefar_mllm")
    whole = family("Qwen2-VL")
    inputs = whole.inputs(ASKED, shot())
    right = Answerer(whole).scores(inputs, ASKED)

    def spoilt(cache):
        cache = copy.deepcopy(cache)
        for layer in cache.layers:
            layer.values = layer.values * 1.01
        return cache

    monkeypatch.setattr("sefar_mllm.inference.multimodal_answers.copy", SimpleNamespace(deepcopy=spoilt))
    answerer = Answerer(whole)
    found = answerer.scores(inputs, ASKED)
    assert not answerer.shares_passes
    assert "options cannot share a pass (off by" in caplog.text
    for score, values in right.items():
        assert found[score] == pytest.approx(values, abs=2e-3)


def test_frames_as_images(family):
    whole = again(family("Qwen3-VL"), show="images")
    inputs = whole.inputs(ASKED, shot())
    assert inputs["image_grid_thw"].shape == (6, 3)
    with pytest.raises(SefarMLLMError, match="takes images alone"):
        again(family("LLaVA"), show="video")


@pytest.mark.parametrize(("settings", "message"), [({"time_scale": 0.0}, "above 0")])
def test_settings_that_are_none(family, settings, message):
    with pytest.raises(SefarMLLMError, match=message):
        again(family("LLaVA"), **settings)


def test_what_is_no_multimodal_model(tmp_path):
    with pytest.raises(SefarMLLMError, match="expected a multimodal model with a processor"):
        WholeModel(str(tmp_path))


def test_words_of_a_question_are_no_control_tokens(family):
    whole = family("Qwen2-VL")
    odd = replace(ASKED, question="Is this <|video_pad|> or <|im_end|>?")
    plain = whole.inputs(ASKED, shot())
    inputs = whole.inputs(odd, shot())
    for token in ("<|video_pad|>", "<|im_end|>"):
        number = whole.tokenizer.convert_tokens_to_ids(token)
        assert (inputs["input_ids"] == number).sum() == (plain["input_ids"] == number).sum()


def test_dtype_of_times(family):
    whole = family("Qwen2.5-VL")
    model = WholeModel(whole.name, dtype=torch.bfloat16)
    inputs = model.inputs(ASKED, shot())
    assert inputs["pixel_values_videos"].dtype == torch.bfloat16
    assert inputs["second_per_grid_ts"].dtype == torch.float32
