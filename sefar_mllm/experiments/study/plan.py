"""What a study is: rows (methods), columns (data), the paper's numbers for both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from encoder.training.config import TrainConfig
from sefar_mllm.errors import SefarMLLMError

Numbers = tuple[float | None, ...]


@dataclass(frozen=True)
class Row:
    """One method of a study.

    Attributes:
        name: As the table prints it.
        paper: The paper's numbers, one for each of the study's ``paper_columns``; None where it has none.
        changes: Options of the training by dotted name, such as ``{"recipe.name": "svformer"}``; None for a
            method that only the paper has.
    """

    name: str
    paper: Numbers = ()
    changes: Mapping[str, Any] | None = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """The data that a method is trained and measured on.

    Attributes:
        name: As the table prints it.
        files: Options of the data set (``scope``, ``action_type``) in place of the study's.
        fraction: Share of the training clips that keep their label, in place of the study's.
        coarse: ``set`` or ``event``: classes are these groups; empty for the classes themselves.
    """

    name: str
    files: Mapping[str, Any] = field(default_factory=dict)
    fraction: float | None = None
    coarse: str = ""


@dataclass(frozen=True)
class Measured:
    """What a probe measures of a trained run besides its accuracy.

    Attributes:
        figures: Numbers that get a column of their own, averaged over the seeds.
        details: What else the picture needs, as JSON.
    """

    figures: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """One table or figure of the paper.

    Attributes:
        source: Where it stands in the paper.
        title: What it asks.
        rows: Methods.
        paper_columns: Headings of the paper's numbers.
        columns: Data of our own runs, by kind of data set (``minigym``, ``finegym`` …); other kinds get the
            whole data set.
        probe: ``(run folder, options)`` → what else to measure.
        picture: ``dots`` (accuracy of every row), ``bins`` (accuracy against confidence and deviation) or
            ``confusion``.
    """

    source: str
    title: str
    rows: tuple[Row, ...]
    paper_columns: tuple[str, ...] = ()
    columns: Mapping[str, tuple[Column, ...]] = field(default_factory=dict)
    probe: Callable[[Path, TrainConfig], Measured] | None = None
    picture: str = "dots"

    def columns_for(self, kind: str) -> tuple[Column, ...]:
        """The columns for a kind of data set.

        Raises:
            SefarMLLMError: The study is about parts that this kind of data has not.
        """
        if not self.columns:
            return (Column("accuracy"),)
        if kind not in self.columns:
            raise SefarMLLMError(
                f"this study ({self.source}) is about parts of {', '.join(self.columns)}; "
                f"the data set given is {kind}"
            )
        return self.columns[kind]


def changed(config: TrainConfig, changes: Mapping[str, Any]) -> TrainConfig:
    """The options with some of them, given by dotted name, replaced; another recipe keeps those of the
    recipe's options that it has too."""
    for name, value in changes.items():
        if name == "recipe.name":
            config = replace(config, recipe=config.recipe.switched(value))
        else:
            config = _with(config, name.split("."), value)
    return config


def _with(config: Any, path: list[str], value: Any) -> Any:
    first, *rest = path
    assert is_dataclass(config), path
    assert first in {f.name for f in fields(config)}, path
    if rest:
        value = _with(getattr(config, first), rest, value)
    return replace(config, **{first: value})  # type: ignore[type-var]
