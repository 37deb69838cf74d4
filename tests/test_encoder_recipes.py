"""Losses, teacher and recipes against oracles, closed forms and slow references."""

import copy
import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from encoder_runs import SEMI, Recorder, batch, recipe, tiny_encoder
from jsonargparse import auto_cli

from encoder.errors import EncoderError
from encoder.loading.data import Batch
from encoder.recipes.config import RECIPES, RecipeConfig, find_recipe
from encoder.recipes.losses import (
    adaptive_regulation,
    ramp_up,
    weighted_cross_entropy,
    weighted_squared_error,
)
from encoder.recipes.mean_teacher import MeanTeacherOptions
from encoder.recipes.svformer import SVFormerOptions
from encoder.recipes.teacher import PseudoLabels, Teacher, pseudo_labels
from encoder.training.config import TrainConfig


def test_adaptive_regulation_at_its_oracles():
    eta = adaptive_regulation(torch.tensor([1.0, 0.9, 0.5]), torch.tensor([0.0, 0.05, 0.1]))
    assert eta[0] == pytest.approx(1.0, abs=1e-6)
    assert eta[1] == pytest.approx(0.40, abs=0.01)
    assert eta[2] == pytest.approx(0.13, abs=0.01)
    grid = torch.linspace(0, 1, 21)
    assert (adaptive_regulation(grid, torch.full_like(grid, 0.1)).diff() > 0).all()
    assert (adaptive_regulation(torch.full_like(grid, 0.8), grid).diff() <= 0).all()


def test_ramp_up_at_its_ends():
    assert [ramp_up(e, 5, 30) for e in range(5)] == [0.0] * 5
    assert ramp_up(5, 5, 30) == pytest.approx(math.sin(0.5 * math.pi / 25))
    assert ramp_up(29, 5, 30) == pytest.approx(1.0)


def test_losses_against_loops():
    torch.manual_seed(0)
    logits, target, weight = torch.randn(4, 5), torch.rand(4, 5), torch.rand(4)
    label = torch.tensor([0, 3, 4, 1])
    slow = sum(weight[i] * -logits[i].log_softmax(0)[label[i]] for i in range(4)) / 4
    assert weighted_cross_entropy(logits, label, weight).item() == pytest.approx(slow.item(), rel=1e-5)
    slow = sum(weight[i] * ((logits[i] - target[i]) ** 2).mean() for i in range(4)) / 4
    assert weighted_squared_error(logits, target, weight).item() == pytest.approx(slow.item(), rel=1e-5)


def test_the_mix_loss_reaches_the_logits_by_its_closed_form():
    """``2w/(B·C) · p ∘ (d − p·d)`` with ``d = p − target``: what makes it small beside a cross-entropy."""
    torch.manual_seed(0)
    logits, target, weight = torch.randn(4, 5, requires_grad=True), torch.rand(4, 5), torch.rand(4)
    p = logits.softmax(-1)
    weighted_squared_error(p, target, weight).backward()
    p, d = p.detach(), p.detach() - target
    expected = 2 * weight[:, None] / (4 * 5) * p * (d - (p * d).sum(1, keepdim=True))
    torch.testing.assert_close(logits.grad, expected)


def test_teacher_follows_the_closed_form():
    student = tiny_encoder()
    teacher = Teacher(student, decay=0.9)
    parameter, average = student.head.classifier.weight, teacher.network.head.classifier.weight
    expected = parameter.detach().clone()
    for t in range(30):
        with torch.no_grad():
            parameter.add_(1.0)
        teacher.follow()
        decay = min(0.9, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * parameter.detach()
        torch.testing.assert_close(average, expected)
    teacher.restart()
    assert torch.equal(average, parameter)
    assert int(teacher.updates) == 0
    assert not any(p.requires_grad for p in teacher.parameters())


def test_many_predictions_from_one_pass_equal_full_passes_under_the_same_masks():
    """The slow way of the method's §5: K passes of the whole network, dropout on, everything else off."""
    k, frames = 7, torch.randn(3, 8, 3, 32, 32)
    teacher = Teacher(tiny_encoder(), 0.99)
    network = teacher.network
    feature = network.clip_feature(frames)
    torch.manual_seed(5)
    masks = network.head.dropout_masks(k, feature)
    assert set(masks.unique().tolist()) == {0.0, 2.0}
    slow = []
    for mask in masks:
        elements = network.backbone.element_tokens(network.backbone(frames))
        slow.append(F.linear(network.head.feature(elements) * mask, *network.head.classifier.parameters()))
    torch.testing.assert_close(network.head.predictions(feature, masks), torch.stack(slow))
    torch.manual_seed(5)
    fast = teacher.label(frames, k)
    each = torch.stack(slow).softmax(-1)
    torch.testing.assert_close(fast.probabilities, each.mean(0))
    for i in range(3):
        assert fast.label[i] == each.mean(0)[i].argmax()
        deviation = each[:, i, fast.label[i]].std(unbiased=True)
        assert fast.deviation[i].item() == pytest.approx(deviation.item(), rel=1e-4)


def test_dropout_of_the_passes_has_the_distribution_of_full_passes():
    n, frames = 4000, torch.randn(2, 8, 3, 32, 32)
    teacher = Teacher(tiny_encoder(), 0.99)
    network = teacher.network
    fast = teacher.label(frames, n)
    network.head.train()
    with torch.no_grad():
        elements = network.backbone.element_tokens(network.backbone(frames))
        slow = network.head(elements.repeat(n, 1, 1)).view(n, 2, 5).softmax(-1)
    torch.testing.assert_close(fast.probabilities, slow.mean(0), atol=0.02, rtol=0)
    of_label = slow.gather(2, fast.label.expand(n, -1)[..., None]).squeeze(2)
    torch.testing.assert_close(fast.deviation, of_label.std(0), atol=0.02, rtol=0)


def test_one_prediction_has_no_deviation():
    assert pseudo_labels(torch.randn(1, 4, 5)).deviation.tolist() == [0.0] * 4


def test_the_recipes_there_are():
    assert set(RECIPES) == {"supervised", *SEMI}
    with pytest.raises(EncoderError, match="expected one of"):
        find_recipe("base")


def test_each_recipe_has_its_own_options_and_says_so():
    assert RecipeConfig("svformer", threshold=0.9).options == SVFormerOptions(threshold=0.9)
    with pytest.raises(
        EncoderError, match=r"recipe\.threshold: no option of 'sefar', which has .*mix_weight"
    ):
        RecipeConfig("sefar", threshold=0.9)
    with pytest.raises(EncoderError, match="'supervised', which has none"):
        RecipeConfig("supervised", warmup_epochs=1)
    given = RecipeConfig("sefar", ema_decay=0.5, predictions=3)
    assert given.switched("mean_teacher").options == MeanTeacherOptions(ema_decay=0.5)
    assert given.switched("supervised") == RecipeConfig("supervised")
    assert given.as_json()["name"] == "sefar"
    assert RecipeConfig(**given.as_json()).options == given.options


def test_help_says_which_recipes_an_option_is_of(capsys):
    with pytest.raises(SystemExit):
        auto_cli(TrainConfig, args=["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for name, kind in RECIPES.items():
        for field in dataclasses.fields(kind.Options):
            told = shown.rpartition(f"--recipe.{field.name} ")[2].partition(" --")[0]
            assert f"Default {field.default}" in told
            assert name in told.partition("; of ")[2]


@pytest.mark.parametrize("name", SEMI)
def test_unlabelled_loss_reaches_the_student_and_not_the_teacher(name):
    student = tiny_encoder()
    made = recipe(name, student)
    torch.manual_seed(0)
    losses, _ = made.losses(student, batch(), batch(seed=1), epoch=2)
    unlabelled = [loss for key, loss in losses.items() if key != "sup"]
    assert unlabelled
    for loss in unlabelled:
        student.zero_grad()
        loss.backward(retain_graph=True)
        assert sum(p.grad.abs().sum() for p in student.parameters() if p.grad is not None) > 0
    if made.teacher is not None:
        before = copy.deepcopy(made.teacher.state_dict())
        assert all(p.grad is None for p in made.teacher.parameters())
        torch.optim.SGD(student.parameters(), 0.1).step()
        assert all(torch.equal(v, made.teacher.state_dict()[k]) for k, v in before.items())


@pytest.mark.parametrize("name", ["supervised", *SEMI])
def test_warm_up_is_on_labels_alone(name):
    student = tiny_encoder()
    made = recipe(name, student)
    assert not made.wants_unlabelled(0)
    assert made.wants_unlabelled(1) == (name != "supervised")
    torch.manual_seed(0)
    losses, _ = made.losses(student, batch(), None, epoch=0)
    assert set(losses) == {"sup"}
    torch.manual_seed(0)
    view = made.views.flipped(batch().frames, batch().sizes)
    expected = F.cross_entropy(student(view), batch().labels)
    assert losses["sup"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_teacher_starts_as_the_student_of_the_last_warm_up_update():
    student = tiny_encoder()
    made = recipe("sefar", student)
    with torch.no_grad():
        student.head.classifier.weight.add_(1)
    made.after_update(epoch=0)
    made.start_epoch(0)
    assert not torch.equal(made.teacher.network.head.classifier.weight, student.head.classifier.weight)
    made.start_epoch(1)
    assert torch.equal(made.teacher.network.head.classifier.weight, student.head.classifier.weight)
    with torch.no_grad():
        student.head.classifier.weight.add_(1)
    made.after_update(epoch=1)
    assert int(made.teacher.updates) == 1


def colour_coded(b=6):
    """Clips whose frame says its clip (red) and its place in time (green); blue is 0."""
    frames = torch.zeros(b, 8, 36, 36, 3, dtype=torch.uint8)
    frames[..., 0] = (torch.arange(b) * 30 + 20).view(b, 1, 1, 1)
    frames[..., 1] = (torch.arange(8) * 30 + 20).view(1, 8, 1, 1)
    return Batch(frames, torch.tensor([[36, 36]] * b), torch.zeros(b, dtype=torch.long), list("abcdef"), [])


def decode(view):
    """(B, N, 3, S, S) back to clip and place of every patch: (B, N, patches)."""
    pixels = (view * 0.5 + 0.5) * 255
    centre = pixels[..., 4::8, 4::8].flatten(3)
    clip, place = ((centre[:, :, c] - 20) / 30 for c in (0, 1))
    return clip.round().long(), place.round().long(), centre[:, :, 2]


def shown_by(name):
    student = tiny_encoder()
    made = recipe(name, student)
    recorder = Recorder(student)
    torch.manual_seed(3)
    made.losses(recorder, batch(), colour_coded(), epoch=3)
    return recorder.seen


def test_sefar_perturbs_time_and_not_colour():
    (_, (strong, dropout), _) = shown_by("sefar")
    clip, place, blue = decode(strong)
    assert dropout == 0.2
    assert blue.abs().max() < 1
    assert (clip == torch.arange(6).view(6, 1, 1)).all()
    assert (place == torch.tensor([0, 5, 2, 7, 4, 1, 6, 3]).view(1, 8, 1)).all()


def partners_of(mixed, slots):
    """The clips other than its own that each mixed clip shows in these slots."""
    clip, _, _ = decode(mixed[:, slots])
    return [set(clip[b].unique().tolist()) - {b} for b in range(6)]


def test_sefar_mixes_all_elements_with_one_partner():
    mixed = shown_by("sefar")[2][0]
    by_element = [partners_of(mixed, list(slots)) for slots in ((3, 7), (1, 5), (0, 2, 4, 6))]
    assert by_element[0] == by_element[1] == by_element[2]
    assert max(map(len, by_element[0])) == 1


def test_the_mix_target_uses_the_partner_that_is_shown():
    student = tiny_encoder()
    made = recipe("sefar", student)
    probabilities = torch.eye(6)[:, :5].softmax(1)
    weight = torch.linspace(0.1, 1, 6)
    strong = torch.randn(6, 8, 3, 32, 32)
    pseudo = PseudoLabels(probabilities, probabilities.max(1).values, probabilities.argmax(1), torch.zeros(6))
    student.eval()
    recorder = Recorder(student)
    torch.manual_seed(11)
    loss = made.mix_loss(recorder, strong, pseudo, weight)
    mixed = recorder.seen[0][0]
    # Find partner and mask from the pixels alone, then compute the loss from its definition.
    own = (mixed == strong).all((1, 2)).view(6, 4, 8, 4, 8).all(4).all(2).flatten(1)
    mask = own[(own.sum(1)).argmin()]
    partner = []
    for b in range(6):
        fits = [j for j in range(6) if torch.equal(where(mask, strong[b], strong[j]), mixed[b])]
        partner.append(fits[0])
    torch.manual_seed(11)
    ratio = float(torch._sample_dirichlet(torch.tensor([10.0, 10.0]))[0])
    assert int(mask.sum()) == int(16 * ratio)
    target = ratio * probabilities + (1 - ratio) * probabilities[partner]
    weights = ratio * weight + (1 - ratio) * weight[partner]
    expected = (weights * (student(mixed).softmax(1) - target).square().mean(1)).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def where(mask, a, b):
    pixels = mask.view(4, 4).repeat_interleave(8, 0).repeat_interleave(8, 1)
    return torch.where(pixels, a, b)


def test_sefar_losses_are_weighted_as_the_paper_says():
    student = tiny_encoder()
    made = recipe("sefar", student)
    parts = {}
    for epoch in (1, 3):
        torch.manual_seed(0)
        parts[epoch], figures = made.losses(student, batch(), batch(seed=1), epoch)
        assert 0 < figures["eta"] < 1
    for key in ("un", "mix"):
        ratio = parts[1][key] / parts[3][key]
        assert ratio.item() == pytest.approx(ramp_up(1, 1, 4) / ramp_up(3, 1, 4), rel=1e-4)
    assert parts[1]["sup"].item() == parts[3]["sup"].item()


@pytest.mark.parametrize("name", ["fixmatch", "svformer"])
def test_a_threshold_above_every_confidence_leaves_the_labels_alone(name):
    student = tiny_encoder()
    made = recipe(name, student)
    object.__setattr__(made.options, "threshold", 1.1)
    losses, _ = made.losses(student, batch(), batch(seed=1), epoch=2)
    assert all(loss.item() == 0 for key, loss in losses.items() if key != "sup")
    assert student.training
