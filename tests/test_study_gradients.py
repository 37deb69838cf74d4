"""What each loss gives to the backbone's gradient, against backward passes of each and of the sum."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from encoder_runs import options
from encoder_videos import write_direction_set

from encoder.loading.data import derive_seed
from encoder.training.checkpoint import load_checkpoint
from encoder.training.config import TrainConfig
from encoder.training.train import Training, train
from sefar_mllm.experiments.study.gradients import compared, gradient_shares, loss_gradients

# 12 updates in 4 epochs, the first of them on labels alone.
FIRST, TOTAL = 3, 12


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("directions")
    for name, n in (("labelled", 8), ("unlabelled", 12), ("val", 2)):
        write_direction_set(folder, n, name, seed=len(name))
    return folder


def test_shares_and_cosines_of_vectors_whose_angles_are_known():
    found = compared({"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([0.0, 4.0]), "c": torch.zeros(2)})
    assert found["a"] == pytest.approx({"norm": 3, "share": 3 / 7, "cosine": 3 / 5})
    assert found["b"] == pytest.approx({"norm": 4, "share": 4 / 7, "cosine": 4 / 5})
    assert found["c"] == {"norm": 0, "share": 0, "cosine": 0}
    against = compared({"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([-1.0, 0.0])})
    assert [against[name]["cosine"] for name in "ab"] == pytest.approx([1, -1])
    long = torch.rand(2_000_000, generator=torch.Generator().manual_seed(0))
    assert compared({"a": long, "b": long})["a"]["cosine"] == pytest.approx(1, abs=1e-9)


def by_backward(training: Training, update: int, epoch: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The backbone's gradient of each loss of one update, all computed at once, and of their sum."""
    batches = (
        next(training.lists.labelled_batches(update)),
        next(training.lists.unlabelled_batches(update, training.recipe.draws)),
    )
    torch.manual_seed(derive_seed(training.config.seed, "update", update, 0))
    losses, _ = training.recipe.losses(training.student, *batches, epoch)

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        training.student.zero_grad()
        loss.backward(retain_graph=True)
        weights = list(training.student.backbone.parameters())
        return torch.cat([torch.zeros(w.numel()) if w.grad is None else w.grad.flatten() for w in weights])

    whole = gradient(torch.stack(list(losses.values())).sum())
    return {name: gradient(loss).clone() for name, loss in losses.items()}, whole.clone()


@pytest.mark.parametrize("recipe", ["sefar", "sefar_released"])
def test_each_loss_has_its_own_gradient_and_they_add_up(recipe, data, tmp_path):
    training = Training(options(data, tmp_path / "run", recipe))
    training.model.train()
    expected, whole = by_backward(training, FIRST, 1)
    batches = (
        next(training.lists.labelled_batches(FIRST)),
        next(training.lists.unlabelled_batches(FIRST, training.recipe.draws)),
    )
    torch.manual_seed(derive_seed(training.config.seed, "update", FIRST, 0))
    found = loss_gradients(training, *batches, epoch=1)
    assert list(found) == list(expected) == ["sup", "un", "mix"]
    for name, gradient in found.items():
        assert float(gradient.norm()) > 0
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-5 * float(gradient.abs().max()))
    torch.testing.assert_close(sum(found.values()), whole, rtol=0, atol=1e-5 * float(whole.abs().max()))


def at_checkpoint(config: TrainConfig, update: int, scratch: Path) -> Training:
    """A training with the networks that another run had at an update."""
    states, _ = load_checkpoint(config.output / "checkpoints" / f"update-{update:08d}")
    training = Training(replace(config, output=scratch))
    training.model.train()
    training.student.load_state_dict(states["student"])
    assert training.recipe.teacher is not None
    training.recipe.teacher.load_state_dict(states["teacher"])
    return training


def test_a_run_is_measured_at_its_first_unlabelled_clips_and_at_its_end(data, tmp_path):
    config = options(data, tmp_path / "run", keep_checkpoints=9)
    train(config)
    measured = gradient_shares(config.output, config)
    begun = at_checkpoint(config, FIRST, tmp_path / "first")
    begun.recipe.start_epoch(1)
    ended = at_checkpoint(config, TOTAL, tmp_path / "last")
    for when, training, epoch in (("first", begun, 1), ("last", ended, 3)):
        each, whole = by_backward(training, FIRST, epoch)
        norms = {name: float(gradient.norm()) for name, gradient in each.items()}
        for name, gradient in each.items():
            parts = measured.details[when][name]
            assert {key: len(values) for key, values in parts.items()} == {
                "norm": 8,
                "share": 8,
                "cosine": 8,
            }
            assert parts["norm"][0] == pytest.approx(norms[name], rel=1e-4)
            assert parts["share"][0] == pytest.approx(norms[name] / sum(norms.values()), rel=1e-4)
            cosine = torch.cosine_similarity(gradient, whole, dim=0)
            assert parts["cosine"][0] == pytest.approx(float(cosine), abs=1e-4)
    shares = [measured.details[when]["mix"]["share"] for when in ("first", "last")]
    cosines = measured.details["last"]["mix"]["cosine"]
    expected = [100 * sum(shares[0]) / 8, 100 * sum(shares[1]) / 8, sum(cosines) / 8]
    assert list(measured.figures.values()) == pytest.approx(expected)


def test_parts_of_an_update_are_added_before_they_are_compared(data, tmp_path):
    """Two halves of the labelled and the unlabelled clips, each with draws of its own."""
    config = options(data, tmp_path / "run", accumulate=2, evaluate_every=0)
    train(config)
    found = gradient_shares(config.output, config).details["last"]["sup"]["norm"][0]
    training = at_checkpoint(config, TOTAL, tmp_path / "last")
    labelled, unlabelled = (
        training.lists.labelled_batches(FIRST),
        training.lists.unlabelled_batches(FIRST),
    )
    total = 0.0
    for part in range(2):
        clips = next(labelled), next(unlabelled)
        torch.manual_seed(derive_seed(config.seed, "update", FIRST, part))
        losses, _ = training.recipe.losses(training.student, *clips, 3)
        weights = list(training.student.backbone.parameters())
        each = torch.autograd.grad(losses["sup"] / 2, weights, materialize_grads=True)
        total = total + torch.cat([gradient.flatten() for gradient in each])
    assert found == pytest.approx(float(total.norm()), rel=1e-4)
