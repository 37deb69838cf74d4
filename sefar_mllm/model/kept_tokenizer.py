"""Writing a tokenizer so that it comes back as the same one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.model.language_model import load_tokenizer

#: Arguments of tokenizers that change their ids, and that some versions of Transformers do not save.
ARGUMENTS = ("legacy", "add_prefix_space")
#: The class that takes tokenizer.json as it is; others build their own pipeline and ignore parts of the file.
AS_THE_FILE_SAYS = "PreTrainedTokenizerFast"


def save_tokenizer(
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    ids: Callable[[PreTrainedTokenizerBase], list[int]],
) -> None:
    """Write a tokenizer's files, load them, and see that the ids are the same.

    Args:
        tokenizer: the tokenizer.
        folder: where its files go.
        ids: the ids that must stay the same; raises where there are none.

    Raises:
        SefarMLLMError: when no way of saving keeps them.
    """
    expected = ids(tokenizer)
    arguments = {name: getattr(tokenizer, name) for name in ARGUMENTS if hasattr(tokenizer, name)}
    for missing in ({}, arguments, {"tokenizer_class": AS_THE_FILE_SAYS}):
        tokenizer.save_pretrained(folder)
        if missing:
            amend(folder / "tokenizer_config.json", missing)
        if ids(load_tokenizer(str(folder))) == expected:
            return
    raise SefarMLLMError(
        f"the tokenizer {tokenizer.name_or_path!r} ({type(tokenizer).__name__}) gives other token ids once "
        "it was saved and loaded again, so that a fine-tuned model could not be used; save it once with "
        "another version of Transformers, or use a language model with a tokenizer.json"
    )


def amend(file: Path, values: dict[str, Any]) -> None:
    """Set values in a JSON file."""
    known = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(known | values, indent=2) + "\n", encoding="utf-8")
