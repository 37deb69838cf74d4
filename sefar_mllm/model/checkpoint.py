"""One folder for one fine-tuned model: adapter, projector, tokenizer, configuration, encoder identity."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from projector.build import load_projector, save_projector
from projector.errors import ProjectorError
from projector.standardize import Standardize
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.files import folder_written_whole
from sefar_mllm.model.base_model import fingerprint
from sefar_mllm.model.config import MLLMConfig
from sefar_mllm.model.frame import Frame
from sefar_mllm.model.kept_tokenizer import save_tokenizer
from sefar_mllm.model.language_model import EMBEDDED, EMBEDDED_ON_HUB, load_language_model, load_tokenizer
from sefar_mllm.model.lora import load_lora
from sefar_mllm.model.manifest import CONFIG, MERGED, Manifest, digest
from sefar_mllm.model.prompts import Prompter

ADAPTER, TOKENIZER = "adapter", "tokenizer"
ADAPTER_WEIGHTS = f"{ADAPTER}/adapter_model.safetensors"
PROJECTOR_WEIGHTS = "projector.safetensors"


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


def architecture(model: PreTrainedModel) -> dict[str, int | str]:
    """What a language model must have in common with the one an adapter was trained on."""
    config = model.config.get_text_config()
    names = ("model_type", "hidden_size", "num_hidden_layers", "vocab_size")
    return {name: getattr(config, name) for name in names}


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
        if settings.language_model == EMBEDDED:
            # Otherwise a folder of this machine's user.
            parts.language_model.active_peft_config.base_model_name_or_path = EMBEDDED_ON_HUB
        with folder_written_whole(folder / ADAPTER) as partial:
            parts.language_model.save_pretrained(
                str(partial), state_dict=part(state, "language_model."), save_embedding_layers=False
            )
            (partial / "README.md").unlink(missing_ok=True)  # an empty form, with the language model's folder
            shutil.rmtree(folder / ADAPTER, ignore_errors=True)
        files.append(ADAPTER_WEIGHTS)
    if parts.projector is not None and settings.projector is not None:
        weights = part(state, "projector.") or parts.projector.state_dict()
        save_projector(folder, settings.projector, weights, parts.standardize)
        files.append(PROJECTOR_WEIGHTS)
    save_tokenizer(parts.tokenizer, folder / TOKENIZER, parts.probe)
    merged = settings.language_model == MERGED
    Manifest(
        settings=settings,
        frame=frame,
        probe=parts.probe(parts.tokenizer),
        base=fingerprint(str(folder)) if merged else parts.base or fingerprint(settings.language_model),
        architecture=architecture(parts.causal),
        sha256={name: digest(folder / name) for name in files},
        versions={name: version(name) for name in ("torch", "transformers", "peft")},
    ).write(folder)


def part(state: dict[str, Tensor] | None, prefix: str) -> dict[str, Tensor] | None:
    """The entries of a state whose names begin with ``prefix``, without it."""
    if state is None:
        return None
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


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
    manifest = Manifest.read(folder)
    config = manifest.settings
    name = str(folder) if config.language_model == MERGED else config.language_model
    causal = load_language_model(name, dtype, config.quantization == "nf4", device)
    if architecture(causal) != manifest.architecture:
        raise SefarMLLMError(
            f"{folder}: was trained on a language model of {manifest.architecture}, but "
            f"{config.language_model!r} is now {architecture(causal)}"
        )
    base = fingerprint(name)
    if base != manifest.base:
        raise SefarMLLMError(
            f"{folder}: was trained on another language model than {name!r} is now (fingerprint of "
            f"configuration and weights {base}, expected {manifest.base}); put that one back, or fine-tune "
            "on the present one"
        )
    if unpacked and config.quantization == "nf4":
        causal, config = causal.dequantize(), replace(config, quantization="none")
    language_model: PreTrainedModel | PeftModel = causal
    if ADAPTER_WEIGHTS in manifest.sha256:
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
    parts = Parts(language_model, tokenizer, projector, config, standardize, manifest.frame, base)
    if parts.probe(tokenizer) != manifest.probe:
        raise SefarMLLMError(
            f"{folder / TOKENIZER}: writes other token ids than when the model was saved: its files, or "
            f"Transformers' reading of them, have changed (saved with {manifest.versions['transformers']}, "
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
