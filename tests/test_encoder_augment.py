"""Crops, flips, perturbations of time, and the mix."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from encoder.errors import EncoderError
from encoder.loading.augment import (
    AugmentConfig,
    Views,
    random_boxes,
    resample,
    resample_by_products,
    view_boxes,
)
from encoder.model.sefar import SefarEncoder
from encoder.recipes.mix import TubeMix
from encoder.recipes.perturb import PERTURBATIONS, find_perturbation, reorder
from encoder.video.elements import TemporalElements

ELEMENTS = TemporalElements()
SMALL = {"image_size": 16, "dim": 6, "depth": 1, "heads": 1}


def clips(b=3, t=4, h=20, w=28, seed=0):
    return torch.randint(
        0, 256, (b, t, h, w, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


@pytest.mark.parametrize("size", [9, 20, 28, 50])
def test_resampling_whole_frames_is_pillows_antialiased_resizing(size):
    frames = clips()
    boxes = torch.tensor([[0.0, 0.0, 20.0, 28.0]]).expand(3, 4)
    expected = [
        [Image.fromarray(frame.numpy()).resize((size, size), Image.Resampling.BILINEAR) for frame in clip]
        for clip in frames
    ]
    expected = torch.from_numpy(np.array([[np.asarray(image) for image in clip] for clip in expected]))
    # Both round to bytes, once for each axis.
    assert (resample(frames, boxes, size) - expected.permute(0, 1, 4, 2, 3)).abs().max() <= 1


def test_a_box_of_whole_pixels_is_a_slice_and_a_negative_width_mirrors_it():
    frames = clips()
    expected = frames[:, :, 3:11, 5:13].permute(0, 1, 4, 2, 3).float()
    box = torch.tensor([[3.4, 4.6, 8.2, 7.8]]).expand(3, 4)
    torch.testing.assert_close(resample(frames, box, 8), expected)
    mirror = torch.tensor([[3.4, 13.3, 8.2, -7.8]]).expand(3, 4)
    torch.testing.assert_close(resample(frames, mirror, 8), expected.flip(-1))


@pytest.mark.parametrize("size", [9, 16, 50])
def test_resampling_by_products_is_resampling_clip_by_clip(size):
    """The GPU's way against PyTorch's interpolation of floats, for clips of several sizes, mirrored too."""
    frames, sizes = clips(b=40, t=2, h=33, w=47), torch.tensor([[33, 47], [20, 30]]).repeat(20, 1)
    config = AugmentConfig(crop_min=0.4, crop_max=1.0)
    boxes = random_boxes(sizes, config, flip=True, generator=torch.Generator().manual_seed(0))
    found = resample_by_products(frames, boxes, size)
    for i, (top, left, height, width) in enumerate(boxes.round().int().tolist()):
        low = min(left, left + width)
        pixels = frames[i, :, top : top + height, low : low + abs(width)].permute(0, 3, 1, 2).float()
        square = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
        expected = square.flip(-1) if width < 0 else square
        torch.testing.assert_close(found[i], expected, rtol=0, atol=0.3)


def test_random_boxes_stay_inside_and_fill_their_range():
    sizes = torch.tensor([[40, 60]]).expand(4000, 2)
    config = AugmentConfig(crop_min=0.5, crop_max=0.9)
    boxes = random_boxes(sizes, config, flip=True, generator=torch.Generator().manual_seed(0))
    top, left, height, width = boxes.unbind(1)
    low, high = torch.minimum(left, left + width), torch.maximum(left, left + width)
    assert top.min() >= 0
    assert (top + height).max() <= 40
    assert low.min() >= 0
    assert high.max() <= 60
    assert 0.5 * 40 <= height.min() < 0.51 * 40
    assert 0.89 * 40 < height.max() <= 0.9 * 40
    assert 0.45 < (width < 0).float().mean() < 0.55
    assert (random_boxes(sizes, config, flip=False)[:, 3] > 0).all()


def test_all_frames_of_a_clip_share_one_crop():
    frames = clips(b=5, t=1).expand(5, 4, 20, 28, 3)
    views = Views(AugmentConfig(horizontal_flip=True), 16, (0.5,) * 3, (0.5,) * 3)
    view = views.flipped(frames, torch.tensor([[20, 28]]).expand(5, 2))
    assert torch.equal(view, view[:, :1].expand_as(view))


def test_flips_follow_the_setting_and_never_touch_weak_views():
    ramp = torch.arange(32, dtype=torch.uint8).mul(8)[None, None, None, :, None].expand(64, 1, 32, 32, 3)
    sizes = torch.tensor([[32, 32]]).expand(64, 2)

    def mirrored(view):
        return (view[..., 0] > view[..., -1]).all((1, 2, 3)).float().mean().item()

    on, off = (Views(AugmentConfig(horizontal_flip=f), 16, (0.5,) * 3, (0.5,) * 3) for f in (True, False))
    assert 0.2 < mirrored(on.flipped(ramp, sizes)) < 0.8
    assert mirrored(off.flipped(ramp, sizes)) == 0
    assert mirrored(on.weak(ramp, sizes)) == 0


def test_the_evaluation_view_is_centred_and_normalised():
    model = SefarEncoder(
        2,
        {"image_size": 16, "dim": 6, "depth": 1, "heads": 1},
        crop=0.8,
        mean=(0.1, 0.2, 0.3),
        std=(2.0, 3.0, 4.0),
    )
    frames = clips(h=20, w=28)
    expected = frames[:, :, 2:18, 6:22].permute(0, 1, 4, 2, 3) / 255
    expected = (expected - torch.tensor(model.mean).view(3, 1, 1)) / torch.tensor(model.std).view(3, 1, 1)
    torch.testing.assert_close(model.transform(frames), expected)
    assert model.transform(frames, n_crops=3).shape == (9, 4, 3, 16, 16)


def test_three_views_cover_the_long_side():
    left = view_boxes(torch.tensor([[20, 60]]), 3)[:, 0, 1]
    assert left.tolist() == [0, 20, 40]
    top = view_boxes(torch.tensor([[60, 20]]), 3)[:, 0, 0]
    assert top.tolist() == [0, 20, 40]


def test_padding_of_smaller_clips_does_not_enter_the_view():
    small = clips(b=1, h=20, w=28)
    padded = torch.full((1, 4, 40, 40, 3), 255, dtype=torch.uint8)
    padded[:, :, :20, :28] = small
    model = SefarEncoder(2, SMALL, crop=0.8)
    torch.testing.assert_close(model.transform(padded, torch.tensor([[20, 28]])), model.transform(small))


def orders(name, batch=256, elements=ELEMENTS):
    torch.manual_seed(0)
    return find_perturbation(name)(batch, elements)


def test_what_each_perturbation_does_to_the_order():
    n = torch.arange(8)
    assert (orders("spatial-only") == n).all()
    assert (orders("all-reverse") == n.flip(0)).all()
    assert (orders("mod-perturb") == torch.tensor([0, 5, 2, 7, 4, 1, 6, 3])).all()
    context = [0, 2, 4, 6]
    local = orders("local-shuffle")
    assert (local[:, context] == torch.tensor(context)).all()
    assert {tuple(row) for row in local[:, [1, 5]].tolist()} == {(1, 5), (5, 1)}
    assert {tuple(row) for row in local[:, [3, 7]].tolist()} == {(3, 7), (7, 3)}
    shuffled = orders("all-shuffle")
    assert (shuffled.sort(1).values == n).all()
    assert len({tuple(row) for row in shuffled.tolist()}) > 240
    drop = orders("t-drop")
    assert all(len(set(row)) == 4 and row == sorted(row) for row in drop.tolist())
    half = orders("t-half")
    assert {tuple(row) for row in half.tolist()} == {(0, 0, 1, 1, 2, 2, 3, 3), (4, 4, 5, 5, 6, 6, 7, 7)}
    warp = orders("warping").tolist()
    assert all(row == sorted(row) for row in warp)
    assert {len(set(row)) for row in warp} == {2, 4}


@pytest.mark.parametrize("name", PERTURBATIONS)
@pytest.mark.parametrize("sizes", [(2, 2, 4), (8,), (4, 4), (2, 2, 2, 2), (3, 4)])
def test_perturbations_work_for_any_elements_and_only_move_frames(name, sizes):
    elements = TemporalElements(sizes)
    index = orders(name, 6, elements)
    assert index.shape == (6, elements.n_frames)
    assert index.min() >= 0
    assert index.max() < elements.n_frames
    frames = torch.randn(6, elements.n_frames, 3, 4, 4)
    moved = reorder(frames, index)
    for b in range(6):
        for slot in range(elements.n_frames):
            assert torch.equal(moved[b, slot], frames[b, index[b, slot]])


def test_an_unknown_perturbation_is_refused():
    with pytest.raises(EncoderError, match="expected one of spatial-only"):
        find_perturbation("reverse")


def test_the_mix_takes_patches_of_two_clips_and_mixes_targets_alike():
    torch.manual_seed(0)
    b, grid, patch = 4, 4, 8
    frames = torch.arange(b).float().view(b, 1, 1, 1, 1).expand(b, 8, 3, grid * patch, grid * patch)
    for _ in range(20):
        mix = TubeMix.draw(b, grid * grid)
        assert int(mix.mask.sum()) == int(grid * grid * mix.ratio)
        mixed = mix.frames(frames, frames[mix.partner], patch)
        patches = mixed[:, :, 0].unfold(2, patch, patch).unfold(3, patch, patch).flatten(2, 3)
        assert torch.equal(patches.amin((3, 4)), patches.amax((3, 4))), "a patch comes from one clip"
        first = patches[..., 0, 0] == torch.arange(b).view(b, 1, 1)
        same = mix.partner == torch.arange(b)
        assert (first == (mix.mask | same[:, None])[:, None]).all(), "one mask for all frames and clips"
        second = patches[..., 0, 0][:, :, ~mix.mask]
        assert (second == mix.partner.view(b, 1, 1)).all(), "one partner for all frames"
        one_hot = torch.eye(b)
        target = mix.targets(one_hot)
        torch.testing.assert_close(target, mix.ratio * one_hot + (1 - mix.ratio) * one_hot[mix.partner])


def test_mixing_pixels_is_mixing_tokens():
    torch.manual_seed(0)
    model = SefarEncoder(2, {"image_size": 32, "patch_size": 8, "dim": 12, "depth": 1, "heads": 2})
    frames = torch.randn(3, 8, 3, 32, 32)
    mix = TubeMix.draw(3, 16)
    tokens = model.backbone.embed(frames)
    mixed = torch.where(mix.mask[:, None], tokens[:, :, 1:], tokens[mix.partner][:, :, 1:])
    ours = model.backbone.embed(mix.frames(frames, frames[mix.partner], 8))[:, :, 1:]
    torch.testing.assert_close(ours, mixed)


def test_the_share_of_the_mix_is_beta_distributed():
    torch.manual_seed(0)
    ratios = torch.tensor([TubeMix.draw(2, 4).ratio for _ in range(4000)])
    assert abs(ratios.mean() - 0.5) < 0.01
    assert abs(ratios.var() - 100 / (400 * 21)) < 0.001  # Beta(10, 10)
