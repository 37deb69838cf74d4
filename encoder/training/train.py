"""The training loop: processes, updates, checkpoints and logs. It knows nothing of any training method."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from accelerate.state import AcceleratorState
from accelerate.utils import gather_object
from tqdm import tqdm

from encoder.device import automatic_precision, multiply_in_tf32
from encoder.errors import EncoderError
from encoder.files import write_json
from encoder.loading.augment import Views
from encoder.loading.data import Batch, derive_seed
from encoder.model.sefar import SefarEncoder
from encoder.processes.group import join
from encoder.processes.stopping import on_sigterm
from encoder.processes.waiting import leaving_together
from encoder.recipes.config import find_recipe
from encoder.training.accelerator import make_accelerator
from encoder.training.broken import BrokenClips
from encoder.training.build import build_encoder, build_optimizer, learning_rate
from encoder.training.checkpoint import StateDicts
from encoder.training.config import TrainConfig
from encoder.training.deferred import DeferredCheck, UpdateReport
from encoder.training.evaluate import Accuracies, in_percent, predict
from encoder.training.lists import TrainingLists
from encoder.training.progress import Window
from encoder.training.run_folder import Progress, RunFolder

log = logging.getLogger("encoder")


def train(config: TrainConfig) -> dict[str, Accuracies]:
    """Trains an encoder and evaluates it.

    Args:
        config: All options.

    Returns:
        Accuracies of ``student`` and ``teacher`` in the last evaluation; empty without a validation list.

    Raises:
        EncoderError: A clip list, video, option, checkpoint or launch is at fault, or the loss is not finite.
        SystemExit: SIGTERM came; a checkpoint was saved.
    """
    # Accelerate's settings belong to the process; this run's must not meet those of another run in it.
    AcceleratorState._reset_state()
    join("train-encoder")
    try:
        return Training(config).run()
    finally:
        AcceleratorState._reset_state()


class Training:
    """One run: its data, networks and progress."""

    def __init__(self, config: TrainConfig) -> None:
        if config.mixed_precision == "auto":
            config = replace(config, mixed_precision=automatic_precision())
        self.config = config
        self.accelerator = make_accelerator(config)
        recipe = find_recipe(config.recipe.name)
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        self.lists = TrainingLists(config, bool(recipe.unlabelled_losses), rank, world)
        self.total = self.lists.total
        self.folder = RunFolder(config, self.accelerator.is_main_process)
        self.folder.check()
        with leaving_together():
            self.lists.open()
        torch.manual_seed(derive_seed(config.seed, "weights"))
        self.student = build_encoder(config.model, self.lists.classes, config.augment)
        views = Views(config.augment, config.model.image_size, self.student.mean, self.student.std)
        self.recipe = recipe(self.student, views, config.recipe.options, config.epochs)
        device = self.accelerator.device
        multiply_in_tf32(device)
        networks = [self.student]
        if self.recipe.teacher is not None:
            networks.append(self.recipe.teacher.to(device).network)
        if config.compile:  # each by itself: a copy of a compiled module is not compiled
            for network in networks:
                network.backbone.compile()
        optimizer = build_optimizer(config.optim, self.student, fused=device.type == "cuda")
        self.model, self.optimizer = self.accelerator.prepare(self.student, optimizer)
        self.learning_rate = learning_rate(config.optim, self.total)
        self.update = 0
        self.evaluation: dict[str, Accuracies] = {}
        self.best = 0.0
        self.broken = BrokenClips(self.folder, config.max_broken)
        self.check = DeferredCheck(self.accelerator)
        self.accelerator.wait_for_everyone()
        self.folder.start()

    # The run ---------------------------------------------------------------------------------------------

    def run(self) -> dict[str, Accuracies]:
        """Trains from the newest checkpoint, or from the start, to the end."""
        self._resume()
        self.accelerator.init_trackers("encoder")
        self.model.train()
        hidden = not self.accelerator.is_local_main_process
        bar = tqdm(total=self.total, initial=self.update, unit="update", disable=hidden)
        with bar, on_sigterm(self.check.stop):
            self._loop(bar)
        if self.accelerator.is_main_process:
            for name, network in self.networks().items():
                network.save_pretrained(self.config.output / name)
        self.accelerator.end_training()
        return self.evaluation

    def _loop(self, bar: Any) -> None:
        config = self.config
        labelled = self.lists.labelled_batches(self.update)
        unlabelled: Iterator[Batch] | None = None
        window = Window()
        while self.update < self.total:
            epoch = self.lists.epoch(self.update)
            if self.update == 0 or self.lists.epoch(self.update - 1) != epoch:
                self.recipe.start_epoch(epoch)
            if unlabelled is None and self.recipe.wants_unlabelled(epoch):
                unlabelled = self.lists.unlabelled_batches(self.update, self.recipe.draws)
            report = self._one_update(epoch, labelled, unlabelled, window)
            self.update += 1
            bar.update()
            done = self.update == self.total
            logs = self.update % config.log_every == 0
            evaluates = done or self._epoch_ends(config.evaluate_every)
            every = config.checkpoint_every
            saves = every > 0 and (done or self.update % every == 0)
            stops = self.check.read()
            self.check.post(report)
            if stops or logs or evaluates or saves:  # these wait for the device anyhow
                stops |= self.check.read()
            if logs:
                line = window.summary()
                self._log({"epoch": epoch, "learning_rate": self.learning_rate(self.update - 1), **line})
                bar.set_postfix_str(
                    f"loss {line['loss']:.3f}, {line['clips_per_second']:.0f} clips/s, "
                    f"{100 * line['data_wait']:.0f}% waiting"
                )
                window = Window()
            if evaluates:
                self._evaluate(epoch)
            if saves or stops:
                self._save()
            if stops:
                log.info(f"stopped at update {self.update}; '--resume true' goes on from there")
                raise SystemExit(128 + signal.SIGTERM)

    def _epoch_ends(self, every: int) -> bool:
        before, after = (self.lists.epoch(update) for update in (self.update - 1, self.update))
        return every > 0 and before // every != after // every

    def _one_update(
        self, epoch: int, labelled: Iterator[Batch], unlabelled: Iterator[Batch] | None, window: Window
    ) -> UpdateReport:
        config, accelerator = self.config, self.accelerator
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.update) * group["scale"]
        report = UpdateReport(self.update)
        for part in range(config.accumulate):
            if part:
                self.recipe.after_part(epoch)
            started = time.perf_counter()
            with_labels = self._next(labelled)
            without = self._next(unlabelled) if unlabelled is not None else None
            window.waited += time.perf_counter() - started
            # Every part of every update has its own seed, whichever process computes it.
            number = accelerator.process_index * config.accumulate + part
            torch.manual_seed(derive_seed(config.seed, "update", self.update, number))
            terms = self.recipe.terms(self.model, with_labels, without, epoch)
            names = self.recipe.loss_names(without)
            for name in names:
                last = part == config.accumulate - 1 and name == names[-1]
                # Processes add up their gradients once, in the last backward pass of the update.
                with nullcontext() if last else accelerator.no_sync(self.model):
                    with accelerator.autocast():
                        term = next(terms)
                    accelerator.backward(term.loss / config.accumulate)
                report.add(name, term.loss)
                window.add(name, term)
            clips = with_labels.clips + (without.clips if without is not None else [])
            report.clips += clips
            window.count(len(clips))
        if config.optim.max_grad_norm is not None:
            accelerator.clip_grad_norm_(self.model.parameters(), config.optim.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.recipe.after_update(epoch)
        return report

    def _next(self, batches: Iterator[Batch]) -> Batch:
        """The next batch, without the clips that cannot be read."""
        batch = next(batches)
        self.broken.count(batch, self.update)
        if not batch.clips:
            raise EncoderError(batch.broken[0])
        return batch.to(self.accelerator.device)

    # What the run leaves behind --------------------------------------------------------------------------

    def networks(self) -> dict[str, SefarEncoder]:
        """The student, and the teacher once it has begun to follow."""
        networks = {"student": self.student}
        if self.recipe.teacher is not None and self.recipe.teacher.updates:
            networks["teacher"] = self.recipe.teacher.network
        return networks

    def _log(self, line: dict[str, float]) -> None:
        self.folder.log({"update": self.update, **line})
        self.accelerator.log(line, step=self.update)

    def _evaluate(self, epoch: int) -> None:
        if not self.lists.val:
            return
        accelerator, batches = self.accelerator, self.lists.validation_batches()
        hidden = not accelerator.is_local_main_process
        with tqdm(batches, desc="evaluating", leave=False, disable=hidden) as shown:
            predicted = predict(self.networks(), self.broken.readable(shown, self.update), accelerator)
        self.evaluation = {
            name: Accuracies.of(scores, predicted.labels) for name, scores in predicted.probabilities.items()
        }
        figures = in_percent(self.evaluation)
        self._log({"epoch": epoch, **figures})
        top = {name: accuracies.top1 for name, accuracies in self.evaluation.items()}
        best = max(top, key=lambda name: top[name])
        if accelerator.is_main_process:
            text = ", ".join(f"{name} {100 * value:.1f}" for name, value in top.items())
            log.info(f"update {self.update}/{self.total}: top-1 {text}")
            if self.config.keep_best and top[best] > self.best:
                self.networks()[best].save_pretrained(self.config.output / "best")
                facts = {"update": self.update, "network": best, **figures}
                write_json(self.config.output / "best" / "evaluation.json", facts)
        self.best = max(self.best, top[best])

    def _save(self) -> None:
        states: StateDicts = {
            "student": self.student.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        if self.recipe.teacher is not None:
            states["teacher"] = self.recipe.teacher.state_dict()
        if self.accelerator.scaler is not None:
            states["scaler"] = self.accelerator.scaler.state_dict()
        progress = Progress(self.update, self.evaluation, self.best, sorted(self.broken.messages))
        self.folder.save(progress, states)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        """Goes back to the newest checkpoint. Randomness needs no restoring: it follows from the update."""
        self._agree(self.folder.newest_update())
        loaded = self.folder.load()
        if loaded is None:
            return
        progress, states = loaded
        self.student.load_state_dict(states["student"])
        self.optimizer.load_state_dict(states["optimizer"])
        if self.recipe.teacher is not None:
            self.recipe.teacher.load_state_dict(states["teacher"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(states["scaler"])
        self.update, self.evaluation, self.best = progress.update, progress.evaluation, progress.best
        self.broken.messages = set(progress.broken)

    def _agree(self, update: int) -> None:
        """Raises EncoderError where processes would go on from different updates."""
        updates = gather_object([update])
        if len(set(updates)) > 1:
            raise EncoderError(
                f"{self.folder.checkpoints}: process 0 finds the checkpoint of update {updates[0]}, process "
                f"{self.accelerator.process_index} that of {update} (0 is none); all machines need to see "
                "one folder: let 'output' lie on a disk they share, or copy the newest checkpoint to each"
            )
