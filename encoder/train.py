"""The training loop: processes, updates, checkpoints and logs. It knows nothing of any training method."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from encoder.augment import Views
from encoder.build import build_encoder, build_optimizer, learning_rate
from encoder.checkpoint import (
    load_checkpoint,
    newest_checkpoint,
    prune_checkpoints,
    save_checkpoint,
    write_json,
)
from encoder.clips import ClassInfo, Clip, check_labels, read_classes, read_clips
from encoder.config import TrainConfig
from encoder.data import (
    Batch,
    ClipStream,
    derive_seed,
    evaluation_batches,
    open_source,
    training_batches,
)
from encoder.elements import TemporalElements
from encoder.errors import EncoderError
from encoder.evaluate import accuracies, predict
from encoder.recipes.base import find_recipe


def train(config: TrainConfig) -> dict[str, float]:
    """Trains an encoder and evaluates it.

    Args:
        config: All options.

    Returns:
        The last evaluation: ``student_top1``, ``teacher_top1`` and so on, in per cent; empty without a
        validation list.

    Raises:
        EncoderError: A clip list, video, option or checkpoint is at fault, or the loss is not finite.
    """
    return Training(config).run()


class Training:
    """One run: its data, networks and progress."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.accelerator = Accelerator(mixed_precision=config.mixed_precision)
        self.n_parts = config.accumulate * self.accelerator.num_processes
        if config.labelled_batch % self.n_parts:
            raise EncoderError(
                f"labelled_batch: {config.labelled_batch} clips cannot be shared by "
                f"{self.accelerator.num_processes} processes in {config.accumulate} parts each"
            )
        recipe = find_recipe(config.recipe.name)
        self._read_lists(recipe.uses_unlabelled)
        self._open_output()
        self.elements = TemporalElements.parse(config.model.elements)
        data = config.data
        with self.accelerator.main_process_first():
            used = self.labelled + (self.unlabelled if recipe.uses_unlabelled else []) + self.val
            self.source = open_source(used, data.short_side, data.reader, data.cache, data.workers)
        torch.manual_seed(derive_seed(config.seed, "weights"))
        self.student = build_encoder(config.model, self.classes, config.augment)
        self.views = Views(config.augment, config.model.image_size, self.student.mean, self.student.std)
        self.recipe = recipe(self.student, self.views, config.recipe, config.epochs)
        optimizer = build_optimizer(config.optim, self.student)
        if self.recipe.teacher is not None:
            self.recipe.teacher.to(self.accelerator.device)
        self.model, self.optimizer = self.accelerator.prepare(self.student, optimizer)
        self.update = 0
        self.total = config.updates or config.epochs * self._updates_in_a_pass()
        self.learning_rate = learning_rate(config.optim, self.total)
        self.last_evaluation: dict[str, float] = {}

    # What the run works on -------------------------------------------------------------------------------

    def _read_lists(self, uses_unlabelled: bool) -> None:
        data = self.config.data
        if uses_unlabelled and data.unlabelled is None:
            raise EncoderError(
                f"data.unlabelled: the recipe {self.config.recipe.name!r} needs a list of unlabelled clips"
            )
        self.labelled = read_clips(data.labelled, data.video_root)
        self.unlabelled = read_clips(data.unlabelled, data.video_root) if data.unlabelled else []
        self.val = read_clips(data.val, data.video_root) if data.val else []
        self.classes: list[ClassInfo] = read_classes(data.classes or data.labelled.parent / "classes.json")
        check_labels(self.labelled, self.classes, data.labelled)
        if data.val:
            check_labels(self.val, self.classes, data.val)

    def _open_output(self) -> None:
        output = self.config.output
        settings = json.loads(json.dumps(asdict(self.config), default=str))
        if not self.config.resume and any(output.glob("*")):
            raise EncoderError(
                f"{output}: already holds a run; name another output, delete it, or add '--resume true'"
            )
        if newest_checkpoint(output / "checkpoints"):
            before = json.loads((output / "config.json").read_text(encoding="utf-8"))
            free = ("resume", "output", "checkpoint_every", "keep_checkpoints", "log_every")
            changed = [k for k in settings if k not in free and settings[k] != before.get(k)]
            if changed:
                raise EncoderError(
                    f"{output / 'config.json'}: the run there had another {', '.join(changed)}; resume with "
                    "the same options or name another output"
                )
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            output.mkdir(parents=True, exist_ok=True)
            write_json(output / "config.json", settings)
        self.accelerator.wait_for_everyone()

    def _updates_in_a_pass(self) -> int:
        if self.unlabelled:
            return math.ceil(
                len(self.unlabelled) / (self.config.labelled_batch * self.config.unlabelled_ratio)
            )
        return math.ceil(len(self.labelled) / self.config.labelled_batch)

    def epoch(self, update: int) -> int:
        """The epoch that update ``update`` belongs to."""
        return update * self.config.epochs // self.total

    def _batches(self, clips: list[Clip], name: str, size: int, start: int) -> Iterator[Batch]:
        config, rank = self.config, self.accelerator.process_index
        stream = ClipStream(clips, self.source, self.elements, derive_seed(config.seed, name))
        parts = range(rank * config.accumulate, (rank + 1) * config.accumulate)
        workers = 0 if self.source.cache else config.data.workers
        return training_batches(stream, size, range(start, self.total), parts, self.n_parts, workers)

    # The run ---------------------------------------------------------------------------------------------

    def run(self) -> dict[str, float]:
        """Trains from the newest checkpoint, or from the start, to the end."""
        config = self.config
        self._resume()
        labelled_size = config.labelled_batch // self.n_parts
        labelled = self._batches(self.labelled, "labelled", labelled_size, self.update)
        unlabelled: Iterator[Batch] | None = None
        bar = tqdm(
            total=self.total,
            initial=self.update,
            unit="update",
            disable=not self.accelerator.is_local_main_process,
        )
        self.model.train()
        window = _Window()
        while self.update < self.total:
            epoch = self.epoch(self.update)
            if self.update == 0 or self.epoch(self.update - 1) != epoch:
                self.recipe.start_epoch(epoch)
            if unlabelled is None and self.recipe.wants_unlabelled(epoch):
                size = labelled_size * config.unlabelled_ratio
                unlabelled = self._batches(self.unlabelled, "unlabelled", size, self.update)
            self._one_update(epoch, labelled, unlabelled, window)
            self.update += 1
            bar.update()
            if self.update % config.log_every == 0:
                line = window.summary(self.update, epoch, self.optimizer.param_groups[-1]["lr"])
                self._log(line)
                bar.set_postfix_str(
                    f"loss {line['loss']:.3f}, {line['clips_per_second']:.0f} clips/s, "
                    f"{100 * line['data_wait']:.0f}% waiting"
                )
                window = _Window()
            done = self.update == self.total
            if done or self._epoch_ends(config.evaluate_every):
                self._evaluate(epoch)
            if config.checkpoint_every and (done or self.update % config.checkpoint_every == 0):
                self._save()
        bar.close()
        self._finish()
        return self.last_evaluation

    def _epoch_ends(self, every: int) -> bool:
        before, after = self.epoch(self.update - 1), self.epoch(self.update)
        return every > 0 and before // every != after // every

    def _one_update(
        self, epoch: int, labelled: Iterator[Batch], unlabelled: Iterator[Batch] | None, window: _Window
    ) -> None:
        config, accelerator = self.config, self.accelerator
        rate = self.learning_rate(self.update)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        for part in range(config.accumulate):
            started = time.perf_counter()
            with_labels = self._next(labelled)
            without = self._next(unlabelled) if unlabelled is not None else None
            window.waited += time.perf_counter() - started
            # Every part of every update has its own seed, whichever process computes it.
            torch.manual_seed(
                derive_seed(
                    config.seed, "update", self.update, accelerator.process_index * config.accumulate + part
                )
            )
            last = part == config.accumulate - 1
            with nullcontext() if last else accelerator.no_sync(self.model):
                with accelerator.autocast():
                    losses, figures = self.recipe.losses(self.model, with_labels, without, epoch)
                loss = torch.stack(list(losses.values())).sum()
                clips = with_labels.clips + (without.clips if without is not None else [])
                self._check_finite(losses, clips)
                accelerator.backward(loss / config.accumulate)
            window.add(losses, figures, len(clips))
        if config.optim.max_grad_norm is not None:
            accelerator.clip_grad_norm_(self.model.parameters(), config.optim.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.recipe.after_update(epoch)

    def _next(self, batches: Iterator[Batch]) -> Batch:
        batch = next(batches)
        if batch.broken:
            raise EncoderError(batch.broken[0])
        return batch.to(self.accelerator.device)

    def _check_finite(self, losses: dict[str, Tensor], clips: list[str]) -> None:
        bad = [name for name, loss in losses.items() if not torch.isfinite(loss)]
        if bad:
            raise EncoderError(
                f"update {self.update}: the loss {', '.join(bad)} is not finite; the clips were "
                f"{', '.join(clips)}; lower optim.learning_rate or limit optim.max_grad_norm"
            )

    # What the run leaves behind --------------------------------------------------------------------------

    def networks(self) -> dict[str, Any]:
        """The student, and the teacher once it has begun to follow."""
        networks = {"student": self.student}
        if self.recipe.teacher is not None and int(self.recipe.teacher.updates):
            networks["teacher"] = self.recipe.teacher.network
        return networks

    def _evaluate(self, epoch: int) -> None:
        if not self.val:
            return
        batches = evaluation_batches(
            self.val,
            self.source,
            self.elements,
            self.config.evaluation_batch,
            self.accelerator.process_index,
            self.accelerator.num_processes,
            0 if self.source.cache else self.config.data.workers,
        )
        shown = tqdm(
            batches, desc="evaluating", leave=False, disable=not self.accelerator.is_local_main_process
        )
        scores, labels, _ = predict(self.networks(), shown, self.accelerator)
        found = {f"{name}_{k}": v for name, s in scores.items() for k, v in accuracies(s, labels).items()}
        self.last_evaluation = found
        self._log({"update": self.update, "epoch": epoch, **found})
        if self.accelerator.is_main_process:
            text = ", ".join(f"{k} {v:.1f}" for k, v in found.items() if k.endswith("top1"))
            tqdm.write(f"update {self.update}/{self.total}: {text}")

    def _log(self, line: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            with open(self.config.output / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            states: dict[str, Any] = {
                "student": self.student.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
            if self.recipe.teacher is not None:
                states["teacher"] = self.recipe.teacher.state_dict()
            if self.accelerator.scaler is not None:
                states["scaler"] = self.accelerator.scaler.state_dict()
            folder = self.config.output / "checkpoints" / f"update-{self.update:08d}"
            save_checkpoint(folder, states, {"update": self.update, "evaluation": self.last_evaluation})
            prune_checkpoints(folder.parent, self.config.keep_checkpoints)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        """Goes back to the newest checkpoint. Randomness needs no restoring: it follows from the update."""
        folder = newest_checkpoint(self.config.output / "checkpoints")
        metrics = self.config.output / "metrics.jsonl"
        if folder is None:
            if self.accelerator.is_main_process:
                metrics.unlink(missing_ok=True)
            return
        states, facts = load_checkpoint(folder)
        self.student.load_state_dict(states["student"])
        self.optimizer.load_state_dict(states["optimizer"])
        if self.recipe.teacher is not None:
            self.recipe.teacher.load_state_dict(states["teacher"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(states["scaler"])
        self.update, self.last_evaluation = facts["update"], facts["evaluation"]
        if self.accelerator.is_main_process and metrics.is_file():
            _drop_after(metrics, self.update)

    def _finish(self) -> None:
        if self.accelerator.is_main_process:
            for name, network in self.networks().items():
                network.save_pretrained(self.config.output / name)
        self.accelerator.wait_for_everyone()


def _drop_after(metrics: Path, update: int) -> None:
    """Takes the lines of later updates, written before the run was stopped, out of the log."""
    lines = metrics.read_text(encoding="utf-8").splitlines()
    kept = []
    for line in lines:
        try:
            if json.loads(line)["update"] <= update:
                kept.append(line)
        except json.JSONDecodeError:
            continue  # a line that was being written when the run was stopped
    scratch = metrics.with_suffix(".tmp")
    scratch.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    scratch.replace(metrics)


class _Window:
    """Sums over the updates since the last line of the log."""

    def __init__(self) -> None:
        self.started, self.waited = time.perf_counter(), 0.0
        self.clips, self.parts = 0, 0
        self.sums: dict[str, Tensor] = {}

    def add(self, losses: dict[str, Tensor], figures: dict[str, Tensor], clips: int) -> None:
        self.clips += clips
        self.parts += 1
        for name, value in {**{f"loss_{k}": v for k, v in losses.items()}, **figures}.items():
            value = value.detach().float()
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def summary(self, update: int, epoch: int, rate: float) -> dict[str, Any]:
        seconds = time.perf_counter() - self.started
        means = {name: float(value) / self.parts for name, value in self.sums.items()}
        return {
            "update": update,
            "epoch": epoch,
            "learning_rate": rate,
            "loss": sum(v for k, v in means.items() if k.startswith("loss_")),
            **means,
            "clips_per_second": self.clips / seconds,
            "data_wait": self.waited / seconds,
        }
