"""Training through the command line: learning, resuming, several processes, bad runs."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from encoder_runs import assert_same_weights, config_file, options
from encoder_videos import write_direction_set
from processes import ALONE, Launch, script

from encoder.errors import EncoderError
from encoder.loading.augment import AugmentConfig
from encoder.model.sefar import SefarEncoder
from encoder.training.checkpoint import load_checkpoint, newest_checkpoint, save_checkpoint
from encoder.training.config import DataConfig, ModelConfig, OptimConfig, TrainConfig, as_json
from encoder.training.evaluate import Accuracies, in_percent
from encoder.training.train import train

SCRIPT = Path(__file__).parents[1] / "scripts" / "train_encoder.py"


def test_direction_is_learnt_though_no_frame_shows_it(directions, tmp_path):
    """Supervised, from scratch, on 8 clips: the temporal attention has to do it."""
    changes = {"updates": 60, "labelled_batch": 8, "checkpoint_every": 0, "evaluate_every": 0}
    optim = OptimConfig("adamw", learning_rate=3e-3, schedule="constant")
    result = train(options(directions, tmp_path / "run", "supervised", optim=optim, **changes))
    assert result["student"].top1 >= 0.9


def test_a_run_leaves_what_it_says(directions, tmp_path):
    output = tmp_path / "run"
    result = train(options(directions, output, keep_best=True))
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text("utf-8").splitlines()]
    logged = [line for line in lines if "loss" in line]
    assert [line["update"] for line in logged] == [2, 4, 6, 8, 10, 12]
    assert "loss_un" not in logged[0], "no unlabelled loss during the warm-up"
    assert {"loss_sup", "loss_un", "loss_mix", "eta"} <= logged[-1].keys()
    for line in logged:
        assert line["loss"] == pytest.approx(sum(v for k, v in line.items() if k.startswith("loss_")))
    evaluations = [line for line in lines if "student_top1" in line]
    assert [line["update"] for line in evaluations] == [6, 12]
    figures = in_percent(result)
    assert {key: evaluations[-1][key] for key in figures} == figures
    assert set(figures) == {
        f"{n}_{m}" for n in ("student", "teacher") for m in ("top1", "top5", "mean_class")
    }
    assert sorted(p.name for p in (output / "checkpoints").iterdir()) == [
        "update-00000009",
        "update-00000012",
    ]
    assert json.loads((output / "best" / "evaluation.json").read_text("utf-8"))["update"] in (6, 12)
    for name in ("student", "teacher", "best"):
        encoder = SefarEncoder.from_pretrained(output / name)
        assert encoder.classes == ["darker", "brighter"]
        assert encoder.crop == pytest.approx(0.7875)


@pytest.mark.parametrize("recipe", ["sefar_released", "mean_teacher", "fixmatch", "svformer"])
def test_every_recipe_trains(recipe, directions, tmp_path):
    result = train(options(directions, tmp_path / "run", recipe, evaluate_every=0, mixed_precision="bf16"))
    assert set(result) == {"student"} | ({"teacher"} if recipe != "fixmatch" else set())


def test_the_same_seed_gives_the_same_weights_and_workers_and_cache_change_nothing(directions, tmp_path):
    quick = {"updates": 6, "epochs": 3, "evaluate_every": 0, "checkpoint_every": 0}
    train(options(directions, tmp_path / "a", **quick))
    config = options(directions, tmp_path / "b", **quick)
    object.__setattr__(config.data, "workers", 2)
    train(config)
    config = options(directions, tmp_path / "c", **quick)
    object.__setattr__(config.data, "cache", tmp_path / "cache")
    object.__setattr__(config.data, "cache_quality", None)  # raw frames
    train(config)
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    assert_same_weights(tmp_path / "a", tmp_path / "c")
    train(options(directions, tmp_path / "d", seed=1, **quick))
    with pytest.raises(AssertionError):
        assert_same_weights(tmp_path / "a", tmp_path / "d")


def launch(config_file: Path, *args: str, processes: int = 1) -> Launch:
    words, logs = ["--config", str(config_file), *args], config_file.parent / "logs"
    return Launch(script, SCRIPT, *words, logs=logs, processes=processes)


@pytest.fixture(scope="module")
def undisturbed(directions, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("undisturbed") / "run"
    file = config_file(
        options(directions, output, updates=16, checkpoint_every=2), output.parent / "config.yaml"
    )
    launch(file).finish()
    return output


def test_stopped_by_sigterm_and_resumed_is_undisturbed(undisturbed, directions, tmp_path):
    output = tmp_path / "run"
    file = config_file(
        options(directions, output, updates=16, checkpoint_every=1000), tmp_path / "config.yaml"
    )
    running = launch(file)
    wait_for_update(output, 2, running)
    running.processes[0].terminate()
    assert "--resume true" in running.finish(expected=128 + signal.SIGTERM)
    stopped = newest_checkpoint(output / "checkpoints")
    assert stopped is not None
    assert 2 <= int(stopped.name.removeprefix("update-")) < 16
    launch(file, "--resume", "true").finish()
    assert_same_weights(undisturbed, output)
    assert logged_losses(output)[-1] == logged_losses(undisturbed)[-1]


def wait_for_update(output: Path, update: int, running: Launch) -> None:
    """Until an update is in the log, or the process has ended."""
    metrics = output / "metrics.jsonl"
    while running.processes[0].is_alive():
        if metrics.is_file() and f'"update": {update}' in metrics.read_text("utf-8"):
            return
        time.sleep(0.01)


def logged_losses(output: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text("utf-8").splitlines()]
    return [(line["update"], line["loss_sup"]) for line in lines if "loss_sup" in line]


def killed_and_resumed(undisturbed: Path, directions: Path, tmp_path: Path, kills: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    output = tmp_path / "run"
    file = config_file(options(directions, output, updates=16, checkpoint_every=2), tmp_path / "config.yaml")
    for _ in range(kills):
        running = launch(file, "--resume", "true")
        update = 2 * int(torch.randint(1, 8, (), generator=generator))
        try:
            wait_for_update(output, update, running)
            time.sleep(float(torch.rand((), generator=generator)) * 0.3)
        finally:
            running.kill()
    launch(file, "--resume", "true").finish()
    assert_same_weights(undisturbed, output)
    assert logged_losses(output) == logged_losses(undisturbed)


def test_killed_and_resumed_is_undisturbed(undisturbed, directions, tmp_path):
    killed_and_resumed(undisturbed, directions, tmp_path, kills=1, seed=0)


@pytest.mark.slow
def test_killed_ten_times_and_resumed_is_undisturbed(undisturbed, directions, tmp_path):
    killed_and_resumed(undisturbed, directions, tmp_path, kills=10, seed=1)


@pytest.mark.parametrize("torchrun", [pytest.param(True, marks=pytest.mark.slow), False])
@pytest.mark.parametrize("recipe", [pytest.param("supervised", marks=pytest.mark.slow), "sefar"])
def test_two_processes_equal_one_with_the_same_clips_in_an_update(recipe, torchrun, directions, tmp_path):
    changes = {"updates": 20, "epochs": 4, "evaluate_every": 0, "checkpoint_every": 0}
    train(options(directions, tmp_path / "one", recipe, accumulate=2, **changes))
    file = config_file(options(directions, tmp_path / "two", recipe, **changes), tmp_path / "config.yaml")
    if torchrun:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        command += [f"--log-dir={tmp_path / 'logs'}", str(SCRIPT), "--config", str(file)]
        done = subprocess.run(command, env=os.environ | ALONE, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr[-3000:]
    else:
        launch(file, processes=2).finish()
    assert_same_weights(tmp_path / "one", tmp_path / "two", tolerance=1e-5)


def test_a_run_is_not_overwritten_nor_resumed_with_other_options(directions, tmp_path):
    quick = {"updates": 4, "evaluate_every": 0, "checkpoint_every": 2}
    train(options(directions, tmp_path / "run", **quick))
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    with pytest.raises(EncoderError, match="already holds a run"):
        train(options(directions, tmp_path / "run", **quick))
    with pytest.raises(EncoderError, match="another seed"):
        train(options(directions, tmp_path / "run", seed=5, resume=True, **quick))
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


def test_a_damaged_checkpoint_is_named(tmp_path):
    save_checkpoint(tmp_path / "update-1", {"a": {"x": torch.ones(3), "y": [1, (2, None)]}}, {"update": 1})
    states, facts = load_checkpoint(tmp_path / "update-1")
    assert torch.equal(states["a"]["x"], torch.ones(3))
    assert states["a"]["y"] == [1, [2, None]]
    assert facts == {"update": 1}
    (tmp_path / "update-1" / "state.safetensors").write_bytes(b"cut")
    with pytest.raises(EncoderError, match="update-1: not a whole checkpoint"):
        load_checkpoint(tmp_path / "update-1")


def test_broken_clips_are_left_out_and_counted_until_they_are_too_many(directions, tmp_path, caplog):
    folder = tmp_path / "data"
    for name, n in (("labelled", 8), ("unlabelled", 12), ("val", 4)):
        write_direction_set(folder, n, name, seed=len(name))
    (folder / "unlabelled2.mp4").write_bytes(b"broken")
    unknown = (folder / "unlabelled5.mp4").read_bytes().replace(b"avc1", b"zzzz")
    (folder / "unlabelled5.mp4").write_bytes(unknown)
    (folder / "val1.mp4").write_bytes(b"broken")
    train(options(folder, tmp_path / "run", max_broken=3))
    assert caplog.text.count("left out (") == 3
    lines = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()
    ]
    broken = [line["broken"] for line in lines if "broken" in line]
    assert sorted(b.split(".mp4")[0].split("/")[-1] for b in broken) == ["unlabelled2", "unlabelled5", "val1"]
    with pytest.raises(EncoderError, match=r"unlabelled\d\.mp4: (cannot be opened|no decoder is known)"):
        train(options(folder, tmp_path / "run2", max_broken=1))


def test_a_loss_that_is_not_finite_stops_with_update_and_clips(directions, tmp_path):
    optim = OptimConfig("sgd", learning_rate=1e30, schedule="constant")
    with pytest.raises(EncoderError, match=r"update \d+: the loss .* is not finite.*labelled\d"):
        train(options(directions, tmp_path / "run", "supervised", optim=optim))


def test_no_checkpoint_and_no_line_of_the_log_has_a_loss_that_is_not_finite(directions, tmp_path):
    """The losses are looked at one update later, but before anything is written."""
    optim = OptimConfig("sgd", learning_rate=1e30, schedule="constant")
    for every in (1, 3, 1000):
        output = tmp_path / str(every)
        changes = {"checkpoint_every": every, "log_every": every, "evaluate_every": 0}
        with pytest.raises(EncoderError, match="update 1: the loss sup is not finite"):
            train(options(directions, output, "supervised", optim=optim, **changes))
        newest = newest_checkpoint(output / "checkpoints")
        assert (newest is None) == (every > 1)
        if newest is not None:
            assert newest.name == "update-00000001"
        log = output / "metrics.jsonl"
        assert "NaN" not in (log.read_text("utf-8") if log.exists() else "")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labelled_batch": 5, "accumulate": 2}, "labelled_batch: 5 clips cannot be shared"),
        ({"recipe": "unknown"}, "recipe 'unknown': expected one of"),
        ({"augment": AugmentConfig(perturbation="none")}, "perturbation 'none'"),
        ({"model": ModelConfig(image_size=30, patch_size=8)}, "expected a multiple of 8"),
    ],
)
def test_bad_options_are_named(changes, message, directions, tmp_path):
    with pytest.raises(EncoderError, match=message):
        train(options(directions, tmp_path / "run", **changes))


def test_options_that_nothing_would_use_are_refused():
    with pytest.raises(EncoderError, match=r"optim\.momentum: adamw has no such option"):
        OptimConfig("adamw", momentum=0.9)
    with pytest.raises(EncoderError, match=r"model\.preset: the weights 'minigym' have a shape"):
        ModelConfig(weights="minigym", preset="S")
    with pytest.raises(EncoderError, match=r"keep_best: .*data\.val"):
        TrainConfig(Path("run"), DataConfig(Path("train.csv")), keep_best=True)


def test_the_options_of_a_run_are_written_with_their_defaults():
    data = DataConfig(Path("train.csv"))
    options = as_json(TrainConfig(Path("run"), data))
    assert (options["model"]["preset"], options["optim"]["momentum"]) == ("S", 0.9)
    assert options["recipe"]["ema_decay"] == 0.9999
    model = ModelConfig(weights="minigym")
    options = as_json(TrainConfig(Path("run"), data, model, optim=OptimConfig("adamw")))
    assert options["model"]["preset"] is options["optim"]["momentum"] is None


def test_processes_that_do_not_know_of_each_other_are_refused(directions, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    with pytest.raises(EncoderError, match="2 processes were started"):
        train(options(directions, tmp_path / "run"))


@pytest.mark.parametrize("what", ["FSDP", "DEEPSPEED", "MEGATRON_LM"])
def test_weights_spread_over_gpus_are_refused(what, directions, tmp_path, monkeypatch):
    monkeypatch.setenv(f"ACCELERATE_USE_{what}", "true")
    with pytest.raises(EncoderError, match=r"train-encoder: .* would spread it.*ddp\.yaml"):
        train(options(directions, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_an_unlabelled_list_is_asked_for(directions, tmp_path):
    config = options(directions, tmp_path / "run")
    object.__setattr__(config.data, "unlabelled", None)
    with pytest.raises(EncoderError, match=r"data\.unlabelled: the recipe 'sefar' needs"):
        train(config)


def test_accuracies_by_hand():
    scores = torch.tensor([[0.1, 0.9, 0.0], [0.8, 0.1, 0.1], [0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
    found = Accuracies.of(scores, torch.tensor([1, 0, 0, 0]))
    assert asdict(found) == pytest.approx({"top1": 3 / 4, "top5": 1, "mean_class": (1 + 2 / 3) / 2})
    figures = {"student_top1": 75, "student_top5": 100, "student_mean_class": (100 + 200 / 3) / 2}
    assert in_percent({"student": found}) == pytest.approx(figures)


def test_the_shipped_configuration_is_one():
    from jsonargparse import auto_cli

    file = SCRIPT.parents[1] / "configs" / "encoder" / "minigym.yaml"
    config = auto_cli(TrainConfig, args=["--config", str(file)], as_positional=False)
    assert config.recipe.name == "sefar"
