"""SeFAR against labels alone: the same labels and starting weights, several seeds.

SeFAR's teacher is compared with the supervised network, trained once for as many updates and once for as long
a time. Two short supervised runs say what an update takes, and with it how many fit into SeFAR's time.

    python benchmarks/sefar_vs_supervised.py --config configs/encoder/minigym.yaml --seeds 3 \
        --output runs/sefar_vs_supervised
"""

from __future__ import annotations

import json
import time
from dataclasses import replace

import torch
from jsonargparse import ArgumentParser

from encoder.training.config import TrainConfig
from encoder.training.train import train
from sefar_mllm.statistics import over_seeds


def run(config: TrainConfig, recipe: str, updates: int, seed: int) -> tuple[float, float]:
    """Train once. Returns top-1 in per cent at the end, and seconds; a finished run is read, not repeated."""
    output = config.output / f"{recipe}-{updates}-{seed}"
    done = output / "study.json"
    if not done.exists():
        begun = time.perf_counter()
        train(
            replace(
                config,
                output=output,
                recipe=config.recipe.switched(recipe),
                updates=updates,
                seed=seed,
                evaluate_every=0,
            )
        )
        rows = map(json.loads, (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
        final = [row for row in rows if "student_top1" in row][-1]
        top1 = final.get("teacher_top1", final["student_top1"])
        done.write_text(json.dumps({"top1": top1, "seconds": time.perf_counter() - begun}), encoding="utf-8")
    found = json.loads(done.read_text(encoding="utf-8"))
    return found["top1"], found["seconds"]


def updates_in(config: TrainConfig, seconds: float) -> int:
    """Supervised updates that take ``seconds``, with what a run spends besides them."""
    short = max(40, config.epochs)
    long = 3 * short
    _, first = run(config, "supervised", short, 0)
    _, second = run(config, "supervised", long, 0)
    per_update = (second - first) / (long - short)
    return max(1, round(short + (seconds - first) / per_update))


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(TrainConfig, as_group=False)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    seeds = options.pop("seeds")
    options.pop("config", None)
    config: TrainConfig = TrainConfig(**vars(parser.instantiate_classes(options)))
    if config.updates is None:
        parser.error("set --updates: SeFAR's number of updates")
    runs = {"sefar": "sefar", "equal updates": "supervised", "equal time": "supervised"}
    found: dict[str, list[float]] = {name: [] for name in runs}
    updates = {"sefar": config.updates, "equal updates": config.updates}
    for seed in range(seeds):
        for name, recipe in runs.items():
            if name not in updates:
                updates[name] = updates_in(config, run(config, "sefar", config.updates, 0)[1])
            top1, seconds = run(config, recipe, updates[name], seed)
            print(
                f"{recipe}, seed {seed}: top-1 {top1:.1f} after {updates[name]} updates, {seconds:.0f} s",
                flush=True,
            )
            found[name].append(top1)
    spreads = {recipe: over_seeds(values) for recipe, values in found.items()}
    for name, spread in spreads.items():
        label = name if name == runs[name] else f"{runs[name]}, {name}"
        print(f"{label:<25} top-1 {spread.mean:.1f} ± {spread.std or 0:.1f} ({seeds} seeds)")
    table = {
        "updates": updates,
        "top1": found,
        "mean": {name: spread.mean for name, spread in spreads.items()},
        "std": {name: spread.std for name, spread in spreads.items()},
        "versions": {"torch": torch.__version__},
        "threads": torch.get_num_threads(),
    }
    (config.output / "results.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
