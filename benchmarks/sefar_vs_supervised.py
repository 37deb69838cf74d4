"""SeFAR against labels alone: the same labels, starting weights and wall time, several seeds.

SeFAR's teacher is compared with the supervised network. A pilot of each recipe's update times gives the
supervised runs as many updates as fit into SeFAR's time.

    python benchmarks/sefar_vs_supervised.py --config configs/encoder/minigym.yaml --seeds 3 \
        --output runs/sefar_vs_supervised
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import torch
from jsonargparse import ArgumentParser

from encoder.config import TrainConfig
from encoder.train import train
from sefar_mllm.statistics import over_seeds


def run(config: TrainConfig, recipe: str, updates: int, seed: int, output: Path) -> tuple[float, float]:
    """Train once. Returns top-1 in per cent at the end, and seconds; a finished run is read, not repeated."""
    done = output / "study.json"
    if not done.exists():
        begun = time.perf_counter()
        train(
            replace(
                config,
                output=output,
                recipe=replace(config.recipe, name=recipe),
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
    found: dict[str, list[float]] = {"sefar": [], "supervised": []}
    updates = {"sefar": config.updates}
    for seed in range(seeds):
        for recipe in found:
            top1, seconds = run(config, recipe, updates[recipe], seed, config.output / f"{recipe}-{seed}")
            print(f"{recipe}, seed {seed}: top-1 {top1:.1f} after {updates[recipe]} updates, {seconds:.0f} s")
            found[recipe].append(top1)
            if "supervised" not in updates:  # the supervised runs get SeFAR's time
                pilot = 40
                _, spent = run(config, "supervised", pilot, seed, config.output / "pilot")
                updates["supervised"] = max(1, round(pilot * seconds / spent))
    spreads = {recipe: over_seeds(values) for recipe, values in found.items()}
    for recipe, spread in spreads.items():
        print(f"{recipe:<10} top-1 {spread.mean:.1f} ± {spread.std or 0:.1f} ({seeds} seeds)")
    table = {
        "updates": updates,
        "top1": found,
        "mean": {recipe: spread.mean for recipe, spread in spreads.items()},
        "std": {recipe: spread.std for recipe, spread in spreads.items()},
        "versions": {"torch": torch.__version__},
        "threads": torch.get_num_threads(),
    }
    (config.output / "results.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
