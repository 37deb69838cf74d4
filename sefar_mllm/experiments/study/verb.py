"""The verb ``study``: train every variant of a table with every seed, once, and put the results together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch

from encoder.files import write_json
from encoder.training.config import TrainConfig, as_json
from encoder.training.evaluate import in_percent
from encoder.training.train import train
from gym_qa.datasets.dataset import DataFiles
from gym_qa.datasets.sources import is_synthetic
from gym_qa.minigym import MiniGymConfig, Renderer, make_minigym
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.experiments.minigym import ENCODER
from sefar_mllm.experiments.study.data import Lists, write_lists
from sefar_mllm.experiments.study.picture import draw
from sefar_mllm.experiments.study.plan import Column, Row, Study, changed
from sefar_mllm.experiments.study.studies import STUDIES
from sefar_mllm.experiments.study.table import markdown
from sefar_mllm.settings.options import read_options
from sefar_mllm.statistics import over_seeds

MINIGYM = Path("data/minigym/mini")
# Options that say where things lie and how a run is watched, not what it computes.
_WITHOUT_EFFECT = ("output", "data", "resume", "tracker", "log_every", "checkpoint_every", "keep_checkpoints")

Names = Literal[
    "recipes",
    "events",
    "sets",
    "coarse",
    "components",
    "perturbation",
    "labels",
    "perturbation-parts",
    "predictions",
    "elements",
    "thresholds",
    "confidence",
    "directions",
    "mix",
]


@dataclass(frozen=True)
class StudyConfig(DataFiles):
    """Run one of the paper's tables or figures, and print its numbers beside our own.

    Without a data set MiniGym (synthetic) is taken, and rendered first where it is not there. All rows of a
    seed have the same labelled clips, starting weights and number of updates. Every run has a folder of its
    own, named after all that goes into it: stopped and started again, finished runs are read, not repeated,
    and studies share the runs they have in common.

    Attributes:
        name: The study. Table 1: recipes, events, sets; table 2: coarse; 3: components; 4: perturbation;
            6: labels; 7: perturbation-parts; prediction times: predictions; figure 4: elements, thresholds;
            5: confidence; 8: directions. Not in the paper: mix, the weight of the mix loss.
        output: Folder of all studies; this one's results are in the folder of its name below it.
        settings: Options of ``train-encoder`` in a YAML file; data, seed and what the study varies are put
            in their place.
        videos: Folder of the clips; by default ``videos`` in the data set's folder.
        available_only: Leave out clips that are not in that folder.
        fraction: Share of the training clips that keep their label, where the study does not vary it.
        seeds: Number of seeds, from 0; each has its own label split.
        updates: Updates of every run, in place of the settings'.
        renderer: How MiniGym's gymnasts look where it is rendered here: body or sticks.
    """

    name: Names
    output: Path = Path("runs/study")
    settings: Path = ENCODER
    videos: Path | None = None
    available_only: bool = False
    fraction: float = 0.1
    seeds: int = 3
    updates: int | None = None
    renderer: Renderer = "body"


def study(config: StudyConfig) -> dict[str, Any]:
    """Run the verb.

    Returns:
        The contents of ``results.json``; accuracies are in per cent.

    Raises:
        SefarMLLMError: The settings, or the choice of data, are at fault.
        GymQAError: The data set's files are at fault.
        EncoderError: A training cannot be done.
    """
    if config.seeds < 1:
        raise SefarMLLMError(f"seeds: expected at least 1, got {config.seeds}")
    plan = STUDIES[config.name]
    base = read_options(TrainConfig, config.settings)
    if config.updates is not None:
        base = replace(base, updates=config.updates)
    files = _data_files(config)
    videos = config.videos or (files.data / "videos" if files.data else None)
    if videos is None:
        raise SefarMLLMError("videos: name the folder of the clips")
    synthetic = is_synthetic(files)
    columns = plan.columns_for("minigym" if synthetic else config.dataset)
    folder = config.output / config.name
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    facts = {
        "study": config.name,
        "source": plan.source,
        "title": plan.title,
        "unit": "top-1 accuracy in per cent, of the teacher where the method has one",
        "data": {**_plain(asdict(files)), "synthetic": synthetic, "fraction": config.fraction},
        "settings": as_json(base),
        "versions": {"sefar-mllm": version("sefar-mllm"), "torch": torch.__version__},
    }
    results: dict[str, Any] = {}
    for seed, column, row in _cells(plan, columns, config.seeds):
        lists = write_lists(
            config.output / "lists" / _slug(config.name, column.name, str(seed)),
            files,
            column,
            config.fraction,
            seed,
            videos,
            config.available_only,
        )
        options = replace(
            changed(base, row.changes or {}),
            seed=seed,
            evaluate_every=0,
            data=replace(
                base.data,
                labelled=lists.labelled,
                unlabelled=lists.unlabelled,
                val=lists.val,
                classes=lists.classes,
                video_root=videos,
            ),
        )
        run = one_run(config.output / "runs", options, lists, plan)
        found.setdefault((row.name, column.name), []).append(run)
        results = {**facts, **_summary(plan, columns, found, config.seeds)}
        write_json(folder / "results.json", results)
    text = markdown(results)
    (folder / "table.md").write_text(text, encoding="utf-8")
    draw(folder / "picture.png", results, plan.picture, lists.classes)
    print(f"{text}\n{folder / 'picture.png'}")
    return results


def _data_files(config: StudyConfig) -> DataFiles:
    files = DataFiles(**{f.name: getattr(config, f.name) for f in fields(DataFiles)})
    if files.dataset != "finegym" or files.data is not None or files.annotation is not None:
        return files
    make_minigym(MiniGymConfig(output=MINIGYM, renderer=config.renderer))
    return replace(files, data=MINIGYM)


def _cells(plan: Study, columns: tuple[Column, ...], seeds: int) -> Iterator[tuple[int, Column, Row]]:
    """Seed by seed, so that a study that is stopped early has all rows."""
    for seed in range(seeds):
        for column in columns:
            for row in plan.rows:
                if row.changes is not None:
                    yield seed, column, row


def one_run(runs: Path, options: TrainConfig, lists: Lists, plan: Study) -> dict[str, Any]:
    """Trains with some options unless that has been done, and measures what the study asks for.

    Returns:
        ``folder``, ``seed``, ``scores`` (the last evaluation), ``top1``, and ``figures`` and ``details`` of
        the probe.
    """
    options = replace(options, output=runs / run_name(options, lists), resume=True)
    done = options.output / "scores.json"
    if not done.is_file():
        print(f"• {options.output}", flush=True)
        write_json(done, in_percent(train(options)))
    scores = json.loads(done.read_text(encoding="utf-8"))
    top1 = scores.get("teacher_top1", scores["student_top1"])
    run = {"folder": str(options.output), "seed": options.seed, "top1": top1, "scores": scores}
    if plan.probe is not None:
        probed = options.output / f"{plan.probe.__name__}.json"
        if not probed.is_file():
            write_json(probed, asdict(plan.probe(options.output, options)))
        run |= json.loads(probed.read_text(encoding="utf-8"))
    return run


def run_name(options: TrainConfig, lists: Lists) -> str:
    """A folder name from all that decides what a run computes: options, clip lists, classes, seed."""
    settings = {key: value for key, value in as_json(options).items() if key not in _WITHOUT_EFFECT}
    settings["data"] = [options.data.short_side, options.data.reader, str(options.data.video_root)]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in lists.files:
        digest.update(path.read_bytes())
    words = (options.recipe.name, options.model.elements, options.augment.perturbation)
    return _slug(*words, f"seed{options.seed}", digest.hexdigest()[:8])


def _summary(
    plan: Study,
    columns: tuple[Column, ...],
    found: dict[tuple[str, str], list[dict[str, Any]]],
    seeds: int,
) -> dict[str, Any]:
    """What the runs so far come to, row by row."""
    rows = []
    for row in plan.rows:
        cells = []
        for column in columns:
            runs = found.get((row.name, column.name), [])
            if not runs:
                continue
            names = runs[0].get("figures", {})
            spreads = {"top1": over_seeds([run["top1"] for run in runs])}
            spreads |= {name: over_seeds([run["figures"][name] for run in runs]) for name in names}
            cells.append(
                {"column": column.name, **{k: asdict(spread) for k, spread in spreads.items()}, "runs": runs}
            )
        paper = dict(zip(plan.paper_columns, row.paper, strict=True)) if row.paper else {}
        rows.append({"name": row.name, "changes": dict(row.changes or {}), "paper": paper, "here": cells})
    wanted = seeds * len(columns) * sum(row.changes is not None for row in plan.rows)
    done = sum(len(runs) for runs in found.values())
    return {
        "paper_columns": list(plan.paper_columns),
        "columns": [column.name for column in columns],
        "seeds": seeds,
        "complete": done == wanted,
        "rows": rows,
    }


def _plain(content: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(content, default=str))


def _slug(*words: str) -> str:
    return "-".join(words).lower().replace(" ", "").replace("%", "")
