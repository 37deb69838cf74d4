"""What SeFAR's released code does otherwise than its paper, as the recipe ``sefar_released`` shows it."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from encoder_runs import Recorder, batch, tiny_encoder

from encoder.loading.augment import AugmentConfig, Views
from encoder.loading.data import Batch
from encoder.recipes.config import find_recipe
from encoder.recipes.sefar import SefarOptions
from encoder.recipes.sefar_released import SefarReleased
from encoder.recipes.teacher import PseudoLabels
from encoder.video.elements import TemporalElements

SLOTS = TemporalElements().slots


def released(**augment) -> SefarReleased:
    student = tiny_encoder()
    views = Views(AugmentConfig(**augment), 32, student.mean, student.std)
    return find_recipe("sefar_released")(student.train(), views, SefarOptions(warmup_epochs=1), 4)


def clips(frames: torch.Tensor) -> Batch:
    b = len(frames)
    size = torch.tensor([frames.shape[2:4]] * b)
    return Batch(frames, size, torch.zeros(b, dtype=torch.long), ["clip"] * b, [])


def test_views_come_from_draws_of_their_own_and_colour_is_reversed_in_fine_elements():
    frames = torch.zeros(2, 16, 36, 36, 3, dtype=torch.uint8)
    frames[..., 0] = torch.arange(16, dtype=torch.uint8).view(1, 16, 1, 1) * 10
    made = released()
    weak, strong = (made_of(clips(frames)).mean((3, 4)) for made_of in (made.weak, made.strong))
    weak, strong = ((255 * (view * 0.5 + 0.5)).round() for view in (weak, strong))
    assert weak[0, :, 0].tolist() == [10 * i for i in range(8)]
    assert strong[0, [0, 2, 4, 6], 0].tolist() == [80, 100, 120, 140]
    assert strong[0, [1, 3, 5, 7], 2].tolist() == [90, 110, 130, 150]
    assert strong[0, [1, 3, 5, 7], 0].tolist() == [0] * 4


def test_every_element_has_its_own_crop_and_flip():
    frames = torch.zeros(40, 8, 36, 36, 3, dtype=torch.uint8)
    frames[..., 0] = torch.arange(36, dtype=torch.uint8) * 7  # columns
    made = released(horizontal_flip=True)
    for make in (made.views.weak, made.views.flipped):
        view = make(frames, torch.tensor([[36, 36]] * 40))[:, :, 0]
        mirrored = view[..., -1].mean(2) < view[..., 0].mean(2)
        for slots in SLOTS:
            same = view[:, list(slots)]
            assert (same == same[:, :1]).all(), "one crop for the frames of an element"
        firsts = [view[:, slots[0]] for slots in SLOTS]
        for a, b in pairwise(firsts):  # of whole pixels, some crops fall together
            assert (a == b).all(2).all(1).float().mean() < 0.3
        flips = mirrored[:, [slots[0] for slots in SLOTS]]
        assert (flips.any(1) & ~flips.all(1)).any() == (make == made.views.flipped)


def test_whole_colour_channels_of_an_element_are_dropped():
    torch.manual_seed(0)
    made = released()
    kept = made.drop_channels(torch.ones(400, 8, 3, 4, 4))
    assert set(kept.unique().tolist()) == {0.0, 1.25}
    for slots in SLOTS:
        same = kept[:, list(slots)]
        assert (same == same[:, :1, :, :1, :1]).all()
    assert (kept == 0).float().mean().item() == pytest.approx(0.2, abs=0.02)


def test_a_mix_has_a_mask_and_a_partner_for_each_element_and_drops_nothing_of_the_partner():
    torch.manual_seed(1)
    made = released(feature_dropout=0.5)
    strong = torch.arange(1.0, 7).view(6, 1, 1, 1, 1).expand(6, 8, 3, 32, 32).contiguous()
    probabilities = torch.full((6, 5), 0.2)
    pseudo = PseudoLabels(probabilities, probabilities[:, 0], torch.zeros(6).long(), torch.zeros(6))
    recorder = Recorder(made.student)
    loss = made.mix_loss(recorder, strong, pseudo, torch.ones(6))
    mixed, token_dropout = recorder.seen[0]
    assert token_dropout == 0
    patches = mixed[..., ::8, ::8].flatten(3)  # (6, 8, 3, 16)
    own = torch.arange(1.0, 7).view(6, 1, 1, 1)
    masks, partners = [], []
    for slots in SLOTS:
        shown = patches[:, list(slots)]
        assert (shown == shown[:, :1]).all()
        is_own = ((shown == 0) | (shown == 2 * own))[:, 0].all(1).all(0)
        masks.append(is_own)
        others = shown[:, 0][:, :, ~is_own]
        assert (others == others[:, :1, :1]).all(), "no channel of the partner is dropped"
        partners.append(others[:, 0, 0])
        assert sorted(partners[-1].tolist()) == [1, 2, 3, 4, 5, 6]
    assert len({tuple(mask.tolist()) for mask in masks}) == 3
    assert len({int(mask.sum()) for mask in masks}) == 1, "of one ratio"
    assert len({tuple(partner.tolist()) for partner in partners}) == 3
    assert loss.item() > 0


def test_the_teacher_follows_after_every_part_by_a_constant_decay():
    made = released()
    mine, theirs = made.teacher.network.head.classifier.weight, made.student.head.classifier.weight
    made.start_epoch(1)
    start = mine.clone()
    with torch.no_grad():
        theirs.add_(1)
    made.after_part(0)
    assert torch.equal(mine, start), "not during the warm-up"
    for _ in range(3):
        made.after_part(1)
    made.after_update(1)
    torch.testing.assert_close(mine - start, torch.full_like(mine, 1 - 0.9999**4), rtol=1e-2, atol=1e-6)


def test_two_draws_lie_in_the_same_bins_and_differ():
    elements = TemporalElements(draws=2)
    generator = torch.Generator().manual_seed(0)
    drawn = elements.sample(80, generator)
    assert [i // 10 for i in drawn] == 2 * list(range(8))
    assert drawn[:8] != drawn[8:]
    assert elements.sample(80) == TemporalElements().sample(80)


def test_losses_of_two_draws():
    made = released()
    twice = batch()
    twice = Batch(twice.frames.repeat(1, 2, 1, 1, 1), twice.sizes, twice.labels, twice.clips, [])
    losses, _ = made.losses(made.student, batch(), twice, epoch=2)
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_short_clips_draw_shared_bins_in_training_alone():
    generator = torch.Generator().manual_seed(0)
    drawn = [TemporalElements().sample(5, generator) for _ in range(60)]
    for element, stretches in ((SLOTS[0], ((0, 1), (2, 3, 4))), (SLOTS[1], ((0, 1), (2, 3, 4)))):
        for slot, frames in zip(element, stretches, strict=True):
            assert {d[slot] for d in drawn} == set(frames)
    assert {tuple(d[slot] for slot in SLOTS[2]) for d in drawn} == {(0, 2, 3, 4)}
