"""One graph at a time: gradients of single losses add up to that of their sum, and less is kept for them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial

import pytest
import torch
from encoder_runs import (
    FIRST_WITH_UNLABELLED,
    SEMI,
    batch,
    first_gradients,
    options,
    recipe,
    tiny_encoder,
    unshared,
)
from processes import Launch
from safetensors.torch import load_file

from encoder.loading.data import derive_seed
from encoder.training.progress import Window
from encoder.training.train import Training, train


def gradients(student: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None}


def summed(student: torch.nn.Module, losses: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    student.zero_grad()
    torch.stack(list(losses.values())).sum().backward()
    return gradients(student)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("name", SEMI)
def test_gradients_of_single_losses_add_up(name, bf16):
    student = tiny_encoder()
    made = recipe(name, student)
    given = student, batch(), batch(seed=1), 2
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        losses, _ = made.losses(*given)
    expected = summed(student, losses)
    student.zero_grad()
    torch.manual_seed(0)
    terms = made.terms(*given)
    for _ in made.loss_names(given[2]):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            term = next(terms)
        term.loss.backward()
    assert next(terms, None) is None
    found = gradients(student)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(found[key], value, rtol=0, atol=(2e-2 if bf16 else 1e-5) * scale + 1e-9)


def kept_at_most(student: torch.nn.Module, work: Callable[[], object]) -> int:
    """The most bytes that autograd keeps for backward passes at any moment of ``work``, weights aside."""
    weights = {p.untyped_storage().data_ptr() for p in student.parameters()}
    alive: dict[int, int] = {}
    most = 0

    class Kept:
        def __init__(self, tensor: torch.Tensor) -> None:
            self.tensor = tensor

    def keep(tensor: torch.Tensor) -> object:
        nonlocal most
        if tensor.untyped_storage().data_ptr() in weights:
            return tensor
        kept = Kept(tensor)
        alive[id(kept)] = tensor.numel() * tensor.itemsize
        weakref.finalize(kept, alive.pop, id(kept))
        most = max(most, sum(alive.values()))
        return kept

    def give(kept: object) -> torch.Tensor:
        return kept.tensor if isinstance(kept, Kept) else kept

    with torch.autograd.graph.saved_tensors_hooks(keep, give):
        work()
    return most


def test_the_activations_of_one_loss_are_kept_at_a_time(directions, tmp_path):
    """Of 4 + 12 clips, those of 12 and not those of 4 + 12 + 12: 57 % less."""
    training = Training(options(directions, tmp_path / "run"))
    training.model.train()
    labelled, unlabelled = training.lists.labelled_batches(0), training.lists.unlabelled_batches(0)
    batches, student, epoch = (next(labelled), next(unlabelled)), training.student, FIRST_WITH_UNLABELLED
    at_once = kept_at_most(
        student, lambda: summed(student, training.recipe.losses(student, *batches, epoch)[0])
    )
    training_update = partial(training._one_update, epoch, labelled, unlabelled, Window())
    assert kept_at_most(student, training_update) / at_once == pytest.approx(12 / 28, abs=0.02)


def test_two_processes_have_the_gradient_of_the_sum(directions, tmp_path):
    config = options(directions, tmp_path / "two")
    Launch(first_gradients, config, tmp_path / "two.st", logs=tmp_path / "logs", processes=2).finish()
    found = load_file(tmp_path / "two.st")

    alone = Training(options(directions, tmp_path / "one", accumulate=2))
    alone.model.train()
    labelled, unlabelled = alone.lists.labelled_batches(0), alone.lists.unlabelled_batches(0)
    total = []
    for part in range(2):
        given = alone.student, next(labelled), next(unlabelled), FIRST_WITH_UNLABELLED
        torch.manual_seed(derive_seed(config.seed, "update", 0, part))  # a loader that starts draws too
        losses, _ = alone.recipe.losses(*given)
        total += [loss / 2 for loss in losses.values()]
    torch.stack(total).sum().backward()
    expected = gradients(alone.student)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=1e-5 * float(value.abs().max()) + 1e-9)
    first_gradients(options(directions, tmp_path / "parts", accumulate=2), tmp_path / "one.st")
    for key, value in load_file(tmp_path / "one.st").items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=1e-5 * float(value.abs().max()) + 1e-9)


def test_processes_that_find_other_checkpoints_do_not_go_on(directions, tmp_path):
    """As on two machines whose output lies on a disk of each: only the first has the checkpoints."""
    quick = {"updates": 4, "evaluate_every": 0, "checkpoint_every": 2}
    train(options(directions, tmp_path / "0", **quick))
    config = options(directions, tmp_path / "unused", resume=True, **quick)
    before = {path: path.read_bytes() for path in (tmp_path / "0" / "checkpoints").rglob("*.*")}
    before[tmp_path / "0" / "metrics.jsonl"] = (tmp_path / "0" / "metrics.jsonl").read_bytes()
    running = Launch(unshared, config, tmp_path, logs=tmp_path / "logs", processes=2)
    assert running.wait() != 0
    said = running.printed()
    assert "process 0 finds the checkpoint of update 4, process 1 that of 0 (0 is none)" in said
    assert "a disk they share" in said
    for path, content in before.items():
        assert path.read_bytes() == content
    assert not list((tmp_path / "1").glob("checkpoints/*"))
