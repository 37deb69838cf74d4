"""One folder for one fine-tuned model: adapter, projector, tokenizer, configuration, encoder identity."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from projector.build import ProjectorSpec, load_projector, save_projector
from projector.errors import ProjectorError
from projector.standardize import Standardize
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.model.base_model import fingerprint
from sefar_mllm.model.config import EncoderIdentity, MLLMConfig
from sefar_mllm.model.frame import Frame
from sefar_mllm.model.kept_tokenizer import save_tokenizer
from sefar_mllm.model.language_model import EMBEDDED, EMBEDDED_ON_HUB, load_language_model, load_tokenizer
from sefar_mllm.model.lora import load_lora
from sefar_mllm.model.places import find_encoder, find_language_model, seen_from
from sefar_mllm.model.prompts import PromptConfig, Prompter

FORMAT = 2
CONFIG, ADAPTER, TOKENIZER = "sefar_mllm.json", "adapter", "tokenizer"
ADAPTER_WEIGHTS = f"{ADAPTER}/adapter_model.safetensors"
PROJECTOR_WEIGHTS = "projector.safetensors"
MERGED = "."  # the name of a language model that stands in the checkpoint itself


@dataclass
class Parts:
    """What `SefarMLLM` is made of, under the names of its arguments; see there."""

    language_model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    projector: nn.Module | None
    settings: MLLMConfig
    standardize: Standardize | None = None
    frame: Frame | None = None
    base: str = ""

    @property
    def causal(self) -> PreTrainedModel:
        """The Transformers model inside the adapter, if there is one."""
        model = self.language_model
        return model.get_base_model() if isinstance(model, PeftModel) else model  # type: ignore[return-value]

    def probe(self, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        """The ids that ``tokenizer`` writes for these parts' probe (`Prompter.probe`)."""
        spec = self.settings.projector
        video_tokens = 0 if spec is None else spec.num_tokens
        return Prompter(tokenizer, self.settings.prompt, video_tokens, frame=self.frame).probe()


def architecture(model: PreTrainedModel) -> dict[str, Any]:
    """What a language model must have in common with the one an adapter was trained on."""
    config = model.config.get_text_config()
    names = ("model_type", "hidden_size", "num_hidden_layers", "vocab_size")
    return {name: getattr(config, name) for name in names}


def digest(file: Path) -> str:
    """SHA-256 of a file."""
    sha = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def save_parts(parts: Parts, folder: Path, state: dict[str, Tensor] | None = None) -> None:
    """Write a model's parts into ``folder``; the configuration file comes last and makes it a checkpoint.

    Args:
        parts: of a model, which has a frame.
        folder: new or old; an old checkpoint in it is replaced.
        state: the model's gathered state, where its own is sharded (FSDP, DeepSpeed).
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).unlink(missing_ok=True)
    settings, frame, files = parts.settings, parts.frame, []
    assert frame is not None
    assert parts.standardize is not None
    if isinstance(parts.language_model, PeftModel):
        partial = folder / f"{ADAPTER}.tmp"
        if settings.language_model == EMBEDDED:
            # Otherwise a folder of this machine's user.
            parts.language_model.active_peft_config.base_model_name_or_path = EMBEDDED_ON_HUB
        parts.language_model.save_pretrained(
            str(partial), state_dict=part(state, "language_model."), save_embedding_layers=False
        )
        (partial / "README.md").unlink(missing_ok=True)  # an empty form, with the language model's folder
        shutil.rmtree(folder / ADAPTER, ignore_errors=True)
        partial.rename(folder / ADAPTER)
        files.append(ADAPTER_WEIGHTS)
    if parts.projector is not None and settings.projector is not None:
        weights = part(state, "projector.") or parts.projector.state_dict()
        save_projector(folder, settings.projector, weights, parts.standardize)
        files.append(PROJECTOR_WEIGHTS)
    save_tokenizer(parts.tokenizer, folder / TOKENIZER, parts.probe)
    merged = settings.language_model == MERGED
    values = {
        "format": FORMAT,
        **asdict(settings),
        "frame": asdict(frame),
        "probe": parts.probe(parts.tokenizer),
        "base": fingerprint(str(folder)) if merged else parts.base or fingerprint(settings.language_model),
        "seen_from_here": seen_from(folder, settings),
        "architecture": architecture(parts.causal),
        "sha256": {name: digest(folder / name) for name in files},
        "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
    }
    partial_config = folder / f"{CONFIG}.tmp"
    partial_config.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    os.replace(partial_config, folder / CONFIG)


def part(state: dict[str, Tensor] | None, prefix: str) -> dict[str, Tensor] | None:
    """The entries of a state whose names begin with ``prefix``, without it."""
    if state is None:
        return None
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def read_config(folder: Path) -> tuple[MLLMConfig, dict[str, Any]]:
    """A checkpoint's configuration, and the file's whole content.

    Folders that are no longer where they were are looked for where they were seen from the checkpoint.

    Raises:
        SefarMLLMError: when ``folder`` is no checkpoint, or its weights are not those saved with it.
    """
    file = folder / CONFIG
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise SefarMLLMError(
                f"{file}: of format {values['format']}, expected {FORMAT}: prompts have changed since it was "
                "trained; fine-tune again"
            )
        seen, encoder, projector = values["seen_from_here"], values["encoder"], values["projector"]
        if encoder is not None:
            encoder["location"] = find_encoder(encoder["location"], folder, seen.get("encoder"))
        config = MLLMConfig(
            language_model=find_language_model(values["language_model"], folder, seen.get("language_model")),
            quantization=values["quantization"],
            prompt=PromptConfig(**values["prompt"]),
            projector=None if projector is None else ProjectorSpec(**projector),
            encoder=None if encoder is None else EncoderIdentity(**encoder),
        )
        recorded = dict(values["sha256"])
        values["frame"] = Frame(**values["frame"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SefarMLLMError(
            f"{file}: not a readable checkpoint ({type(error).__name__}: {error}); "
            "name a folder that fine-tuning wrote"
        ) from error
    for name, expected in recorded.items():
        if not (folder / name).is_file():
            raise SefarMLLMError(
                f"{folder / name}: missing; a checkpoint needs its adapter and its projector"
            )
        if digest(folder / name) != expected:
            raise SefarMLLMError(
                f"{folder / name}: not the file that was saved with {file.name} (SHA-256 differ); "
                "adapter, projector and configuration must come from the same run"
            )
    return config, values


def load_parts(
    folder: Path, dtype: torch.dtype, device: torch.device | str = "cpu", unpacked: bool = False
) -> Parts:
    """The parts of the model in ``folder``, checked against one another.

    Args:
        folder: what `save_parts` wrote.
        dtype: of frozen weights and matrix products.
        device: where it goes.
        unpacked: hold 4-bit weights as the numbers of ``dtype`` that they stand for.

    Raises:
        SefarMLLMError: when a part is missing, or the parts do not belong together.
    """
    config, values = read_config(folder)
    name = str(folder) if config.language_model == MERGED else config.language_model
    causal = load_language_model(name, dtype, config.quantization == "nf4", device)
    if architecture(causal) != values["architecture"]:
        raise SefarMLLMError(
            f"{folder}: was trained on a language model of {values['architecture']}, but "
            f"{config.language_model!r} is now {architecture(causal)}"
        )
    base = fingerprint(name)
    if base != values["base"]:
        raise SefarMLLMError(
            f"{folder}: was trained on another language model than {name!r} is now (fingerprint of "
            f"configuration and weights {base}, expected {values['base']}); put that one back, or fine-tune "
            "on the present one"
        )
    if unpacked and config.quantization == "nf4":
        causal, config = causal.dequantize(), replace(config, quantization="none")
    language_model: PreTrainedModel | PeftModel = causal
    if ADAPTER_WEIGHTS in values["sha256"]:
        language_model = load_lora(causal, folder / ADAPTER)
    projector = standardize = None
    if config.projector is not None:
        try:
            spec, projector, standardize = load_projector(folder)
        except ProjectorError as error:
            raise SefarMLLMError(str(error)) from error
        if spec != config.projector:
            raise SefarMLLMError(f"{folder}: the projector is {spec}, but {CONFIG} says {config.projector}")
        projector.to(device)
    tokenizer = load_tokenizer(str(folder / TOKENIZER))
    parts = Parts(language_model, tokenizer, projector, config, standardize, values["frame"], base)
    if parts.probe(tokenizer) != values["probe"]:
        raise SefarMLLMError(
            f"{folder / TOKENIZER}: writes other token ids than when the model was saved: its files, or "
            f"Transformers' reading of them, have changed (saved with {values['versions']['transformers']}, "
            f"this is {version('transformers')}); put the files back or install that version"
        )
    return parts


def check_encoder(config: MLLMConfig, fingerprint: str, place: str) -> None:
    """Refuse features of another encoder than the model was trained on.

    Raises:
        SefarMLLMError: when the fingerprints differ.
    """
    if config.encoder is not None and config.encoder.fingerprint != fingerprint:
        raise SefarMLLMError(
            f"{place}: holds features of another encoder (fingerprint {fingerprint}) than the model was "
            f"trained on ({config.encoder.name}, fingerprint {config.encoder.fingerprint}); extract features "
            "with that encoder"
        )
