"""Merging an adapter into its language model: a plain Transformers folder with a projector beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from peft import PeftModel

from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.files import folder_written_whole
from sefar_mllm.model.hub import find_checkpoint
from sefar_mllm.model.kept_tokenizer import save_tokenizer
from sefar_mllm.model.language_model import Precision, resolve_dtype
from sefar_mllm.model.manifest import MERGED, Manifest
from sefar_mllm.model.mllm import SefarMLLM


@dataclass(frozen=True)
class MergeConfig:
    """Merge a checkpoint's adapter into its language model.

    Weights that were frozen in 4 bit are unpacked to the numbers they stand for in a run in bf16, and the
    adapter is added to these: the model that was trained, not the one it was packed from.

    Args:
        checkpoint: folder that fine-tuning wrote.
        output: new folder: loads in Transformers as a language model, and in this package with its projector.
        precision: in which the merged weights are stored; the sums are made in float32.
    """

    checkpoint: Path
    output: Path
    precision: Precision = "bf16"


def merge(config: MergeConfig) -> Path:
    """Write the merged model. Returns its folder.

    Raises:
        SefarMLLMError: when the output exists, or the checkpoint has no adapter.
    """
    if config.output.exists():
        raise SefarMLLMError(f"{config.output}: exists; name a new folder")
    folder = find_checkpoint(config.checkpoint)
    packed = Manifest.read(folder).settings.quantization != "none"
    model = SefarMLLM.from_pretrained(folder, torch.bfloat16 if packed else torch.float32, unpacked=True)
    if not isinstance(model.language_model, PeftModel):
        raise SefarMLLMError(f"{config.checkpoint}: has no adapter to merge")
    model.language_model.float()
    model.language_model = model.language_model.merge_and_unload()
    model.language_model.to(dtype=resolve_dtype(config.precision, "cpu"))  # type: ignore[call-arg]
    model.settings = replace(model.settings, language_model=MERGED)
    with folder_written_whole(config.output) as partial:
        model.causal.save_pretrained(partial)
        save_tokenizer(model.tokenizer, partial, model.parts.probe)
        model.save_pretrained(partial)
    return config.output
