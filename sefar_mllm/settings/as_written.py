"""YAML in which everything stays the words it is written with: ``yes`` is no truth, and ``1.0`` no number."""

from __future__ import annotations

from typing import Any

import yaml
from jsonargparse import set_dumper, set_loader

from sefar_mllm.settings.yaml_limits import check_size

#: The mode of jsonargparse in which values are read so; an option's type makes a number where one is due.
AS_WRITTEN = "as written"


def load_as_written(text: str, path: object = "") -> Any:
    """Lists and mappings of texts. An item such as ``vault: yurchenko`` in a list is a text as well.

    Raises:
        SefarMLLMError: for a text that its aliases blow up.
    """
    check_size(text, str(path or "YAML in an option"))
    return _texts(yaml.compose(text, Loader=yaml.BaseLoader), text)


def _texts(node: yaml.Node | None, source: str) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {key.value: _texts(value, source) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [
            item.value
            if isinstance(item, yaml.ScalarNode)
            else source[item.start_mark.index : item.end_mark.index].strip()
            for item in node.value
        ]
    return node.value if isinstance(node, yaml.ScalarNode) else None


set_loader(AS_WRITTEN, load_as_written, (yaml.YAMLError,))
set_dumper(AS_WRITTEN, lambda values: yaml.safe_dump(values, sort_keys=False))
