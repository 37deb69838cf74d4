"""Video models of Transformers as visual encoders: which frames they get, and which tokens come of them."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import torch
import transformers as hf
import vision_models
from safetensors.torch import load_file, save_file
from vision_models import (
    clip,
    frames,
    pe_audio_video,
    pe_video,
    perception_processor,
    timesformer,
    video_llava,
    videomae,
    videoprism,
    videoprism_with_text,
    vivit,
    vjepa2,
)

from encoder.errors import EncoderError
from encoder.video.elements import TemporalElements
from encoder.visual.base import pool_grid
from encoder.visual.factory import open_encoder
from encoder.visual.video_models import VIDEO_MODELS, EvenFrames, tubelet

WITH_PRISM = pytest.mark.skipif(
    not hasattr(hf, "VideoPrismVisionModel"), reason="VideoPrism came with Transformers 5.13"
)

# Kind, the number of frames it was made for, frames of a time step, patches a side.
NATIVE = [
    (videomae, 16, 2, 4),
    (vivit, 6, 3, 4),
    (timesformer, 4, 1, 4),
    (vjepa2, 16, 2, 4),
    pytest.param(videoprism, 16, 1, 4, marks=WITH_PRISM),
    pytest.param(videoprism_with_text, 16, 1, 4, marks=WITH_PRISM),
    (pe_audio_video, 16, 1, 1),
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Saves a model and its processor once. Returns the folder."""
    return partial(vision_models.saved, root=tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize(("make", "count", "tubelet", "side"), NATIVE)
def test_native_is_as_many_frames_as_they_were_made_for(saved, make, count, tubelet, side):
    grid = min(side, 2)
    encoder = open_encoder(f"hf:{saved(make)}?frames=native&grid={grid}")
    assert encoder.sampling.n_frames == count
    edges = [i * 160 // count for i in range(count + 1)]
    assert encoder.sampling.sample(160) == [(edges[i] + edges[i + 1]) // 2 for i in range(count)]
    short = encoder.sampling.sample(max(4, count - 1))
    assert short == sorted(short)
    tokens = encoder.encode(encoder.transform(frames(count)))
    assert tokens.shape == (2, count // tubelet, grid**2 * 16)
    assert (encoder.num_tokens, encoder.dim) == tokens.shape[1:]
    torch.testing.assert_close(encoder.encode(encoder.transform(frames(count)))[1], tokens[1])


@pytest.mark.parametrize(("make", "count", "tubelet", "side"), NATIVE)
def test_a_video_models_tokens_are_of_their_time_and_place(saved, make, count, tubelet, side):
    """With mixing muted every token depends on its own pixels alone: a change must show there."""
    encoder = open_encoder(f"hf:{saved(make)}?frames=native&grid={side}")
    muted = ("attention", "self_attn", "temporal_dense", "resnet_block")
    with torch.no_grad():
        for name, parameter in encoder.network.named_parameters():
            if any(part in name for part in muted):
                parameter.zero_()
    x = torch.randn(1, count, 3, 28, 28)
    cells = 28 // side
    steps, row, column = count // tubelet, side // 4, side // 2
    for step in (0, steps - 1):
        other = x.clone()
        place = (
            slice(cells * row, cells * (row + 1)),
            slice(cells * column, cells * (column + 1)) if side > 1 else slice(None),
        )
        column = column if side > 1 else 0
        other[:, step * tubelet : (step + 1) * tubelet, :, place[0], place[1]] += 1
        change = (encoder.encode(other) - encoder.encode(x)).view(steps, side, side, 16).abs().sum(-1)
        assert change[step, row, column] > 1e-3
        change[step, row, column] = 0
        assert change.max() < 1e-4


AT_TRUE_SIZE = [  # by default a configuration is that of a published checkpoint
    ("vjepa2", 256, 64, {8: 4, 64: 32}),
    pytest.param("videoprism_vision_model", 288, 16, {8: 8, 16: 16}, marks=WITH_PRISM),
    ("videomae", 224, 16, {16: 8}),
    ("vivit", 224, 32, {32: 16}),
    ("timesformer", 224, 8, {8: 8}),
]


@pytest.mark.parametrize(("kind", "side", "native", "steps"), AT_TRUE_SIZE)
def test_the_published_sizes_have_the_documented_time_steps(kind, side, native, steps):
    """Shapes alone, without memory: the tokens of a published model for so many frames."""
    config, video = hf.AutoConfig.for_model(kind), VIDEO_MODELS[kind]
    assert getattr(config, video.native) == native
    patch = getattr(config, "patch_size", None) or config.tubelet_size[-1]
    with torch.device("meta"), torch.no_grad():
        network = hf.AutoModel.from_config(config).eval()
        for count, expected in steps.items():
            x = torch.zeros(1, count, 3, side, side)
            states = network(**{network.main_input_name: x}, **video.arguments).last_hidden_state
            assert count // tubelet(config) == expected
            assert states.shape[1] - expected * (side // patch) ** 2 in (0, 1)  # or with a class token


def by_hand_vjepa2(folder, pixels):
    """``(B, T, 3, 28, 28)`` → ``(B, T / 2, 4, 4, 16)``, by the call its documentation names."""
    model = hf.VJEPA2Model.from_pretrained(folder).eval()
    return model.get_vision_features(pixels).reshape(len(pixels), -1, 4, 4, 16)


def by_hand_videoprism(folder, pixels):
    model = hf.VideoPrismVisionModel.from_pretrained(folder).eval()
    other = pixels.shape[1] != 16
    states = model(pixel_values_videos=pixels, interpolate_pos_encoding=other).last_hidden_state
    return states.reshape(len(pixels), -1, 4, 4, 16)


def by_hand_videoprism_with_text(folder, pixels):
    model = hf.VideoPrismClipModel.from_pretrained(folder).eval().video_model.vision_model
    other = pixels.shape[1] != 16
    states = model(pixel_values_videos=pixels, interpolate_pos_encoding=other).last_hidden_state
    return states.reshape(len(pixels), -1, 4, 4, 16)


def by_hand_pe_video(folder, pixels):
    model = hf.PeVideoModel.from_pretrained(folder).eval()
    return model.video_encoder(pixel_values_videos=pixels).last_hidden_state[:, :, None, None]


def by_hand_pe_audio_video(folder, pixels):
    """From the file: Transformers 5.6 cannot load a whole PE-AV."""
    config = hf.PeAudioVideoConfig.from_pretrained(folder).audio_video_config.video_config
    model, start = hf.PeVideoEncoder(config).eval(), "video_model.video_encoder."
    weights = load_file(folder / "model.safetensors")
    model.load_state_dict(
        {name[len(start) :]: tensor for name, tensor in weights.items() if name.startswith(start)}
    )
    return model(pixel_values_videos=pixels).last_hidden_state[:, :, None, None]


BY_HAND = [
    (vjepa2, by_hand_vjepa2, 2),
    pytest.param(videoprism, by_hand_videoprism, 2, marks=WITH_PRISM),
    pytest.param(videoprism_with_text, by_hand_videoprism_with_text, 2, marks=WITH_PRISM),
    (pe_video, by_hand_pe_video, 1),
    (pe_audio_video, by_hand_pe_audio_video, 1),
]


@pytest.mark.parametrize("count", [8, 16])
@pytest.mark.parametrize(("make", "by_hand", "grid"), BY_HAND)
def test_tokens_are_the_models_own_of_the_frames_as_its_processor_makes_them(
    saved, make, by_hand, grid, count
):
    """The library used directly, clip by clip; its processor is given arrays of one clip each."""
    folder = saved(make)
    clips = frames(count)
    encoder = open_encoder(f"hf:{folder}?frames={count}")
    processor = hf.AutoVideoProcessor.from_pretrained(folder)
    tokens = encoder.encode(encoder.transform(clips))
    for b in range(2):
        array = np.ascontiguousarray(clips[b].numpy())
        x = processor([array], do_sample_frames=False, return_tensors="pt")["pixel_values_videos"]
        assert x.shape == (1, count, 3, 28, 28)
        with torch.no_grad():
            maps = by_hand(folder, x)[0]  # (steps, rows, columns, 16)
        half = maps.shape[1] // grid
        cells = [
            maps[:, r * half : (r + 1) * half, c * half : (c + 1) * half].mean((1, 2))
            for r in range(grid)
            for c in range(grid)
        ]
        torch.testing.assert_close(tokens[b], torch.cat(cells, 1), atol=1e-5, rtol=1e-4)


@WITH_PRISM
def test_videoprism_gets_pixels_from_0_to_1(saved):
    transform = open_encoder(f"hf:{saved(videoprism)}").transform
    x = transform(torch.full((1, 8, 40, 56, 3), 51, dtype=torch.uint8))
    torch.testing.assert_close(x, torch.full((1, 8, 3, 28, 28), 0.2))


def test_fewer_frames_are_shown_several_times(saved):
    folder = saved(videomae)
    few, many = open_encoder(f"hf:{folder}"), open_encoder(f"hf:{folder}?frames=native")
    assert few.sampling.sample(40) == TemporalElements().sample(40)  # what the other encoders see
    assert few.num_tokens == 8
    x = few.transform(frames(8))
    torch.testing.assert_close(few.encode(x), many.encode(x.repeat_interleave(2, 1)))
    assert few.fingerprint != many.fingerprint


def test_models_of_any_number_see_eight_frames_as_they_are(saved):
    few, many = open_encoder(f"hf:{saved(vjepa2)}"), open_encoder(f"hf:{saved(vjepa2)}?frames=native")
    assert few.sampling.sample(40) == TemporalElements().sample(40)
    assert (few.num_tokens, many.num_tokens) == (4, 8)
    assert few.fingerprint != many.fingerprint


@pytest.mark.parametrize("count", [8, 16, 64])
def test_frames_of_a_short_clip_stay_in_order(count):
    sizes = (count - 4, 4)
    for length in range(4, 3 * count):
        chosen = EvenFrames(sizes).sample(length)
        assert chosen == sorted(chosen)
        if length >= count:
            assert chosen == TemporalElements(sizes).sample(length)
        else:  # every frame, each as often as any other but for one
            often = np.bincount(chosen, minlength=length)
            assert len(often) == length
            assert often.max() - often.min() <= 1
            drawn = EvenFrames(sizes).sample(length, torch.Generator().manual_seed(length))
            assert drawn == sorted(drawn)
            assert set(drawn) <= set(range(length))


def test_the_video_tower_of_video_llava(saved):
    folder = saved(video_llava)
    whole = hf.VideoLlavaForConditionalGeneration.from_pretrained(folder).eval()
    encoder = open_encoder(f"hf:{folder}?grid=2")
    assert encoder.num_tokens == 8
    x = encoder.transform(frames())
    with torch.no_grad():
        patches = whole.model.video_tower(pixel_values=x[0]).last_hidden_state[:, 1:]
    expected = pool_grid(patches.unflatten(1, (4, 4)), 2)
    torch.testing.assert_close(encoder.encode(x)[0], expected, atol=1e-5, rtol=1e-4)


def test_videomaes_checkpoints_have_no_bias_of_keys(saved, tmp_path):
    """As on the Hub: biases of queries and values under names of their own, none of keys."""
    folder = saved(videomae)
    weights = load_file(folder / "model.safetensors")
    middle = "attention.attention."
    for name in [name for name in weights if name.endswith((f"{middle}query.bias", f"{middle}value.bias"))]:
        weights[name.replace("query.bias", "q_bias").replace("value.bias", "v_bias")] = weights.pop(name)
    kept = {name: tensor for name, tensor in weights.items() if not name.endswith(f"{middle}key.bias")}
    assert sum(name.endswith("_bias") for name in kept) == 4
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    for file in ("config.json", "preprocessor_config.json"):
        (tmp_path / file).write_bytes((folder / file).read_bytes())
    here, before = open_encoder(f"hf:{tmp_path}"), open_encoder(f"hf:{folder}")
    x = here.transform(frames())
    # A bias of keys adds the same to every score of a query, so that it changes nothing.
    torch.testing.assert_close(here.encode(x), before.encode(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (videomae, "frames=5", "takes 16 frames; frames must divide"),
        (vivit, "grid=2", "takes 6 frames; frames must divide"),
        (vjepa2, "frames=7", "takes 2 frames together"),
        (pe_video, "frames=native", "pe_video_encoder says no number of frames"),
        (pe_video, "grid=2", "one token a frame"),
        (clip, "frames=native", "says no number of frames"),
        (vjepa2, "frames=all", "frames must be a whole number above 0 or native"),
    ],
)
def test_numbers_of_frames_that_do_not_go_are_named(saved, make, options, message):
    with pytest.raises(EncoderError, match=message):
        open_encoder(f"hf:{saved(make)}?{options}")


def test_a_processor_of_another_size_is_refused(saved, tmp_path):
    """V-JEPA 2 reckons the places of patches by its configuration, whatever the frames' size."""
    for file in saved(vjepa2).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    hf.VJEPA2VideoProcessor(crop_size=56).save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match="56 × 56 px, its configuration says 28 × 28"):
        open_encoder(f"hf:{tmp_path}")
    for file in saved(pe_video).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    other = perception_processor()
    other.size = {"height": 56, "width": 56}
    other.save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match="does not run on frames"):
        open_encoder(f"hf:{tmp_path}")


@pytest.mark.parametrize("kind", ["internvideo2", "videoprism_of_tomorrow"])
def test_a_kind_that_the_installed_version_does_not_know_is_named(tmp_path, kind):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}), encoding="utf-8")
    with pytest.raises(
        EncoderError, match=rf"Transformers {hf.__version__} could not load it.*{kind}"
    ) as told:
        open_encoder(f"hf:{tmp_path}")
    assert ("VideoPrism came with Transformers 5.13" in str(told.value)) == ("prism" in kind)
