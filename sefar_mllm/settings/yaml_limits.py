"""YAML of options, bounded: a few lines of aliases to aliases spell a value that no memory holds."""

from __future__ import annotations

from typing import Any

import jsonargparse
import yaml

from sefar_mllm.errors import SefarMLLMError

#: Characters and values that a YAML text may spell once its aliases are written out.
LARGEST = 100_000

_PARSE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_load = jsonargparse.get_loader("yaml")


def limit_yaml() -> None:
    """Make every parser of options refuse YAML that spells more than `LARGEST`, before it is loaded."""
    jsonargparse.set_loader("yaml", load_yaml, (yaml.YAMLError,))


def load_yaml(stream: str, path: object = "") -> Any:
    """jsonargparse's own reading of a text, after `check_size`."""
    check_size(stream, str(path or "YAML in an option"))
    return _load(stream)


def check_size(text: str, place: str) -> None:
    """Refuse a YAML text that its aliases blow up.

    Args:
        text: the YAML; what is no YAML is left to its loader.
        place: what an error calls it.

    Raises:
        SefarMLLMError: for a text that spells more than `LARGEST`, or holds itself.
    """
    if "*" not in text:
        return
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []  # anchor and size so far
    try:
        for event in yaml.parse(text, Loader=_PARSE):
            size = 0
            if isinstance(event, yaml.AliasEvent):
                if any(anchor == event.anchor for anchor, _ in open_nodes):
                    raise SefarMLLMError(f"{place}: the value &{event.anchor} holds itself; write it out")
                size = sizes.get(event.anchor or "", 0)
            elif isinstance(event, yaml.ScalarEvent):
                size = 1 + len(event.value)
                if event.anchor:
                    sizes[event.anchor] = size
            elif isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append((event.anchor, 1))
                continue
            elif isinstance(event, yaml.CollectionEndEvent):
                anchor, size = open_nodes.pop()
                if anchor:
                    sizes[anchor] = size
            if size > LARGEST:
                raise SefarMLLMError(
                    f"{place}: its aliases spell more than {LARGEST} characters; write the values out, or "
                    "use fewer aliases"
                )
            if open_nodes:
                anchor, sum_so_far = open_nodes.pop()
                open_nodes.append((anchor, sum_so_far + size))
    except yaml.YAMLError:
        return
