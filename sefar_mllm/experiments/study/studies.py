"""The studies: the paper's tables 1, 2, 3, 4, 6 and 7, its table of prediction times, its figures 4, 5 and 8
(arXiv 2501.01245), with the numbers it prints (top-1 accuracy in per cent, if nothing else is said); and the
weight of its mix loss, which it does not vary."""

from __future__ import annotations

from collections.abc import Mapping

from sefar_mllm.experiments.study.gradients import gradient_shares
from sefar_mllm.experiments.study.plan import Column, Row, Study
from sefar_mllm.experiments.study.probes import (
    accuracy_by_confidence,
    accuracy_in_other_orders,
    direction_confusion,
    prediction_times,
)

_SEFAR = {"recipe.name": "sefar", "model.elements": "2-2-4", "augment.perturbation": "mod-perturb"}
_SVFORMER = {"recipe.name": "svformer", "model.elements": "8", "augment.perturbation": "warping"}
_WITHOUT_REGULATION = _SEFAR | {"recipe.name": "svformer"}
_IMAGE_METHOD = {"model.elements": "2-2-4", "augment.perturbation": "spatial-only"}

_EVENTS = {
    "minigym": tuple(Column(event, {"scope": event}) for event in ("UB", "FX", "BB")),
    "finegym": tuple(Column(event, {"scope": event}) for event in ("UB", "FX")),
    "finediving": (Column("10m", {"scope": "10m"}),),
}
_SETS = {
    "minigym": tuple(
        Column(name, {"scope": f"set-{number}"}) for name, number in (("UB-S1", 41), ("FX-S2", 22))
    ),
    "finegym": tuple(Column(name, {"scope": name}) for name in ("UB-S1", "FX-S1")),
    "finediving": (Column("5253B", {"action_type": "5253B"}),),
}
_PERTURBATIONS = {
    "spatial-only": "spatial only",
    "t-drop": "slow (T-drop)",
    "all-shuffle": "all shuffle",
    "local-shuffle": "local shuffle",
    "warping": "warping",
    "t-half": "T-half",
    "all-reverse": "all reverse",
    "mod-perturb": "mod-perturb",
}
_TABLE_4 = {
    "spatial-only": (34.2, 24.4, 67.9, 45.6, 39.4),
    "t-drop": (35.6, 25.2, 68.6, 45.0, 41.2),
    "all-shuffle": (35.2, 26.3, 69.0, 45.5, 41.9),
    "local-shuffle": (36.4, 27.6, 71.9, 45.3, 43.3),
    "warping": (35.9, 24.7, 68.2, 44.8, 40.8),
    "t-half": (36.0, 24.8, 68.4, 44.8, 42.1),
    "all-reverse": (36.3, 27.3, 71.2, 45.9, 42.7),
    "mod-perturb": (36.7, 27.8, 72.2, 46.2, 44.9),
}
_TABLE_7 = {
    "t-drop": (22.4, 81.2, 35.6, 92.8),
    "all-shuffle": (23.5, 82.8, 36.1, 93.5),
    "local-shuffle": (23.0, 84.1, 36.5, 94.9),
    "warping": (23.4, 81.9, 34.7, 92.9),
    "t-half": (23.3, 83.0, 35.3, 93.4),
    "all-reverse": (23.6, 83.7, 35.5, 95.1),
    "mod-perturb": (23.8, 85.5, 36.6, 96.4),
}
_PREDICTIONS = {
    1: (29.9, 982.8, None),
    2: (68.5, 991.6, 35.3),
    5: (75.8, 1005.1, 36.2),
    10: (160.4, 1080.7, 36.7),
    15: (260.1, 1220.6, 36.8),
    20: (361.3, 1417.6, 37.0),
}
_RATES = (0.01, 0.03, 0.05, 0.07, 0.10)
_BY_RATE = tuple(Column(f"{100 * rate:.0f} %", fraction=rate) for rate in _RATES)


def _perturbations(table: Mapping[str, tuple[float, ...]]) -> tuple[Row, ...]:
    return tuple(
        Row(_PERTURBATIONS[name], paper, _SEFAR | {"augment.perturbation": name})
        for name, paper in table.items()
    )


STUDIES: dict[str, Study] = {
    "recipes": Study(
        "table 1a",
        "methods, over all classes",
        (
            Row("MemDPC", (10.8, 24.1, 14.5, 21.3, 54.3, 62.0), None),
            Row("LTG", (34.3, 45.8, 16.2, 38.7, 59.8, 64.3), None),
            Row("SeFAR-B", (39.0, 56.9, 28.3, 48.1, 72.8, 80.9), None),
            Row("labels alone", changes=_IMAGE_METHOD | {"recipe.name": "supervised"}),
            Row("Mean Teacher", changes=_IMAGE_METHOD | {"recipe.name": "mean_teacher"}),
            Row("FixMatch", changes=_IMAGE_METHOD | {"recipe.name": "fixmatch"}),
            Row("SVFormer", (31.4, 47.9, 21.3, 39.6, 59.1, 70.8), _SVFORMER),
            Row("SeFAR as released", changes=_SEFAR | {"recipe.name": "sefar_released"}),
            Row("SeFAR", (36.7, 56.3, 27.8, 46.9, 72.2, 78.4), _SEFAR),
        ),
        ("Gym99 5 %", "Gym99 10 %", "Gym288 5 %", "Gym288 10 %", "Diving 5 %", "Diving 10 %"),
    ),
    "events": Study(
        "table 1b",
        "methods, within an event",
        (
            Row("MemDPC", (20.7, 19.1, 13.8, 15.9, 65.4, 71.2), None),
            Row("LTG", (50.5, 60.5, 19.6, 21.6, 75.2, 83.5), None),
            Row("SeFAR-B", (58.5, 75.5, 27.6, 44.2, 87.4, 94.6), None),
            Row("SVFormer", (52.9, 66.8, 20.1, 28.8, 73.8, 85.9), _SVFORMER),
            Row("SeFAR", (56.9, 73.8, 23.8, 42.9, 85.5, 94.0), _SEFAR),
        ),
        ("UB 10 %", "UB 20 %", "FX 10 %", "FX 20 %", "10m 10 %", "10m 20 %"),
        _EVENTS,
    ),
    "sets": Study(
        "table 1c",
        "methods, within a set",
        (
            Row("MemDPC", (17.2, 21.1, 15.4, 20.1, 82.2, 89.5), None),
            Row("LTG", (21.3, 29.7, 14.6, 19.3, 64.6, 76.9), None),
            Row("SeFAR-B", (37.1, 56.8, 20.1, 26.5, 97.0, 97.8), None),
            Row("SVFormer", (28.9, 47.3, 18.8, 22.5, 86.6, 90.1), _SVFORMER),
            Row("SeFAR", (36.6, 55.3, 19.2, 25.5, 96.4, 97.3), _SEFAR),
        ),
        ("UB-S1 10 %", "UB-S1 20 %", "FX-S1 10 %", "FX-S1 20 %", "5253B 10 %", "5253B 20 %"),
        _SETS,
    ),
    "coarse": Study(
        "table 2",
        "methods, on coarse classes",
        (
            Row("FixMatch (SlowFast)", (16.1, None, 55.1, None, None), None),
            Row("TimeBalance", (30.1, 53.3, 81.1, 52.6, 53.9), None),
            Row("SVFormer-B", (46.1, None, 84.6, 59.9, 64.3), None),
            Row("SeFAR-B", (50.3, 77.6, 87.0, 61.5, 65.7), None),
            Row("SVFormer", (31.4, None, 79.1, 56.2, 58.2), _SVFORMER),
            Row("SeFAR", (46.0, 73.2, 84.3, 58.5, 62.9), _SEFAR),
        ),
        ("UCF-101 1 %", "UCF-101 5 %", "UCF-101 10 %", "HMDB-51 40 %", "HMDB-51 50 %"),
        {
            "minigym": (Column("sets", coarse="set"), Column("events", coarse="event")),
            "finegym": (Column("sets", coarse="set"), Column("events", coarse="event")),
            "ucf101": tuple(Column(f"{100 * rate:.0f} %", fraction=rate) for rate in (0.01, 0.05, 0.10)),
            "hmdb51": tuple(Column(f"{100 * rate:.0f} %", fraction=rate) for rate in (0.40, 0.50)),
        },
    ),
    "components": Study(
        "table 3",
        "what each component brings",
        (
            Row("none", (32.6, 22.7, 60.4), _SVFORMER),
            Row("dual elements", (34.8, 25.4, 64.6), _SVFORMER | {"model.elements": "2-2-4"}),
            Row("dual elements, mod-perturb", (35.9, 26.6, 67.4), _WITHOUT_REGULATION),
            Row("dual elements, mod-perturb, adaptive regulation", (36.7, 27.8, 72.2), _SEFAR),
        ),
        ("Gym99 5 %", "Gym288 5 %", "Diving 5 %"),
    ),
    "perturbation": Study(
        "table 4",
        "perturbations of the strong view",
        _perturbations(_TABLE_4),
        ("Gym99 5 %", "Gym288 5 %", "Diving 5 %", "Gym-New", "Something"),
        probe=accuracy_in_other_orders,
    ),
    "labels": Study(
        "table 6",
        "share of labelled clips, with and without adaptive regulation",
        (
            Row("without adaptive regulation", (61.5, 64.6, 67.2, 69.7, 73.4), _WITHOUT_REGULATION),
            Row("SeFAR", (66.3, 69.5, 72.2, 74.6, 78.4), _SEFAR),
        ),
        tuple(f"Diving {column.name}" for column in _BY_RATE),
        dict.fromkeys(("minigym", "finegym", "finediving", "ucf101", "hmdb51", "something"), _BY_RATE),
    ),
    "perturbation-parts": Study(
        "table 7",
        "perturbations of the strong view, within an event and a set",
        _perturbations(_TABLE_7),
        ("FX 10 %", "10m 10 %", "UB-S1 10 %", "5253B 10 %"),
        {
            "minigym": (Column("FX", {"scope": "FX"}), Column("UB-S1", {"scope": "set-41"})),
            "finegym": (Column("FX", {"scope": "FX"}), Column("UB-S1", {"scope": "UB-S1"})),
            "finediving": (*_EVENTS["finediving"], *_SETS["finediving"]),
        },
    ),
    "predictions": Study(
        "the table of prediction times",
        "predictions K of the teacher for every clip",
        tuple(
            Row(f"K = {k}", paper, _SEFAR | {"recipe.predictions": k}) for k, paper in _PREDICTIONS.items()
        ),
        ("teacher ms", "update ms", "Gym99 5 %"),
        probe=prediction_times,
    ),
    "elements": Study(
        "figure 4, left",
        "combinations of temporal elements (the paper draws them, Gym99 5 %, without numbers)",
        tuple(
            Row(sizes, changes=_SEFAR | {"model.elements": sizes})
            for sizes in ("8", "4-4", "2-6", "2-2-4", "1-3-4", "2-2-2-2")
        ),
    ),
    "thresholds": Study(
        "figure 4, middle",
        "fixed thresholds and adaptive regulation (the paper draws them, Diving 5 %, without numbers)",
        (
            *(
                Row(f"threshold {value}", changes=_WITHOUT_REGULATION | {"recipe.threshold": value})
                for value in (0.3, 0.5, 0.7, 0.9)
            ),
            Row("adaptive regulation", changes=_SEFAR),
        ),
    ),
    "confidence": Study(
        "figure 5 and figure 4, right",
        "the teacher's accuracy against its confidence and its deviation (drawn without numbers)",
        (Row("SeFAR", changes=_SEFAR),),
        columns={
            kind: (Column("classes"), Column("sets", coarse="set"), Column("events", coarse="event"))
            for kind in ("minigym", "finegym")
        }
        | {kind: (Column("classes"),) for kind in ("finediving", "ucf101", "hmdb51", "something")},
        probe=accuracy_by_confidence,
        picture="bins",
    ),
    "directions": Study(
        "figure 8",
        "confusion of classes that differ in direction (drawn without numbers, Gym-New 10 %)",
        (Row("baseline", changes=_SVFORMER), Row("SeFAR", changes=_SEFAR)),
        columns={
            "minigym": (Column("direction pairs", {"scope": "direction pairs"}),),
            "finegym": (Column("Gym-New", {"scope": "gym-new"}),),
        },
        probe=direction_confusion,
        picture="confusion",
    ),
    "mix": Study(
        "no table; its equation has the weight 2",
        "weight of the mix loss, and its share of the backbone's gradient",
        (
            *(
                Row(name, changes=_SEFAR | {"recipe.mix_weight": weight})
                for name, weight in (("none", 0.0), ("2 (SeFAR)", 2.0), ("20", 20.0), ("200", 200.0))
            ),
            Row("2, as released: on logits", changes=_SEFAR | {"recipe.name": "sefar_released"}),
        ),
        probe=gradient_shares,
    ),
}
