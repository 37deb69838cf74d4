"""Options of a verb from plain values or a YAML file, as its command line reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import jsonargparse
import yaml

from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.settings.yaml_limits import check_size

T = TypeVar("T")


def options_from(kind: type[T], values: Mapping[str, Any], place: str) -> T:
    """Options of a verb, a frozen dataclass, from plain values.

    Args:
        kind: the dataclass.
        values: by name, groups of options as mappings; paths may be texts.
        place: what an error calls them.

    Raises:
        SefarMLLMError: for an option that there is not, one of the wrong kind, or one that is missing.
    """
    known = {option.name for option in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(values.keys() - known):
        raise SefarMLLMError(f"{place}: no setting {unknown[0]!r}; there are {', '.join(sorted(known))}")
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, as_group=False)
    try:
        return kind(**vars(parser.instantiate_classes(parser.parse_object(dict(values)))))
    except Exception as error:  # jsonargparse raises several kinds, by version
        raise SefarMLLMError(f"{place}: {error}") from error


def read_values(file: Path) -> dict[str, Any]:
    """The values of a YAML file of options.

    Raises:
        SefarMLLMError: for a file that is not there, or holds anything else.
    """
    if not file.is_file():
        raise SefarMLLMError(f"{file}: no such file; expected options in YAML")
    try:
        text = file.read_text(encoding="utf-8")
        check_size(text, str(file))
        values = yaml.safe_load(text)
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise SefarMLLMError(f"{file}: not YAML ({error})") from None
    if not isinstance(values, dict):
        raise SefarMLLMError(f"{file}: expected 'option: value' lines")
    return values


def overridden(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The values with others in their place; of a group of options only those named change."""
    changed = dict(values)
    for name, value in changes.items():
        old = changed.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        changed[name] = overridden(old, value) if both else value  # type: ignore[arg-type]
    return changed


def read_options(kind: type[T], file: Path, changes: Mapping[str, Any] | None = None) -> T:
    """Options of a verb in a YAML file, with some of them overridden: see `options_from`."""
    return options_from(kind, overridden(read_values(file), changes or {}), str(file))
