"""Options of encoder training from a file, for verbs that do not train."""

from __future__ import annotations

from pathlib import Path

import jsonargparse

from encoder.training.config import TrainConfig
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.settings.yaml_limits import limit_yaml


def read_settings(path: Path) -> TrainConfig:
    """The options of ``train-encoder`` in a YAML file. Raises SefarMLLMError for a file that is not such."""
    if not path.is_file():
        raise SefarMLLMError(
            f"{path}: no such file; name options of train-encoder, such as configs/encoder/gym99-s.yaml"
        )
    limit_yaml()
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(TrainConfig, as_group=False)
    try:
        return TrainConfig(**vars(parser.instantiate_classes(parser.parse_path(str(path)))))
    except (jsonargparse.ArgumentError, TypeError, ValueError) as error:
        raise SefarMLLMError(f"{path}: not options of train-encoder ({error})") from None
