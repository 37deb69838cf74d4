"""The multimodal model: a frozen causal language model with LoRA, and a projector that feeds it a video."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from projector.build import build_projector
from projector.standardize import Standardize
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.model.activation_checkpointing import Checkpointed
from sefar_mllm.model.base_model import fingerprint
from sefar_mllm.model.checkpoint import Parts, load_parts, save_parts
from sefar_mllm.model.config import MLLMConfig
from sefar_mllm.model.frame import Frame, find_style
from sefar_mllm.model.head import chosen_logits
from sefar_mllm.model.hub import PushConfig, find_checkpoint, push
from sefar_mllm.model.kept_tokenizer import save_tokenizer
from sefar_mllm.model.language_model import load_language_model, load_tokenizer
from sefar_mllm.model.lora import LoraOptions, add_lora
from sefar_mllm.model.places import in_full
from sefar_mllm.model.prompts import IGNORED, VIDEO_ID, Prompter
from sefar_mllm.model.sharding import frozen_may_be_missing, fsdp_spreads, materialise
from sefar_mllm.model.suitable import check_causal


class SefarMLLM(Checkpointed, nn.Module):
    """A causal language model (with or without a PEFT adapter) that reads a video's tokens among its words.

    Args:
        language_model: the model, plain or wrapped by ``add_lora``.
        tokenizer: its tokenizer.
        projector: ``(B, n, dim) → (B, m, hidden)``; none for the language model without video.
        settings: what the model is made of; saved with it.
        standardize: brings features to the size that the projector takes; by default leaves them as they are.
        frame: what stands around the words of a prompt, as a checkpoint kept it; by default what the
            tokenizer's template writes now.
        base: fingerprint of the language model's own weights (`sefar_mllm.model.base_model`); saved with it.
    """

    accepts_loss_kwargs = True  # tells `transformers.Trainer` to pass `num_items_in_batch`

    def __init__(
        self,
        language_model: PreTrainedModel | PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        projector: nn.Module | None,
        settings: MLLMConfig,
        standardize: Standardize | None = None,
        frame: Frame | None = None,
        base: str = "",
    ) -> None:
        super().__init__()
        self.language_model = language_model
        self.tokenizer = tokenizer
        self.projector = projector
        self.settings = settings
        self.register_load_state_dict_post_hook(frozen_may_be_missing)
        spec = settings.projector
        # No module: training in half precision casts all that modules hold, and all that they are given.
        self.standardize = standardize or Standardize(*((spec.tokens, spec.dim) if spec else (0, 0)))
        video_tokens = 0 if spec is None else spec.num_tokens
        self.prompter = Prompter(tokenizer, settings.prompt, video_tokens, settings.language_model, frame)
        self.base = base
        self.shares_passes: bool = True  # whether options may share one; `inference.likelihood` finds out
        self.checked_length: int = 0  # tokens of a prompt with answer up to which it has
        check_causal(self.causal)

    @classmethod
    def build(
        cls,
        config: MLLMConfig,
        lora: LoraOptions,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        frame: Frame | None = None,
    ) -> SefarMLLM:
        """A model to be trained: pretrained language model, fresh adapter and projector.

        Launched under FSDP, the language model stays in main memory, or with all but one process of a machine
        on the meta device, until the trainer spreads it.

        Args:
            config: what it is made of.
            lora: its adapter.
            dtype: of the frozen weights.
            device: where they go.
            frame: that of an interrupted run's prompts; by default what the template writes now.

        Raises:
            SefarMLLMError: when there is no such language model, or a checkpoint cannot keep its tokenizer.
        """
        tokenizer = load_tokenizer(config.language_model)
        style = find_style(config.prompt.style, tokenizer, config.language_model)
        config = replace(
            config,
            language_model=in_full(config.language_model),
            prompt=replace(config.prompt, style=style),
        )
        language_model: PreTrainedModel | PeftModel
        four_bit, spread = config.quantization == "nf4", fsdp_spreads()
        language_model = load_language_model(config.language_model, dtype, four_bit, device, spread)
        if lora.rank:
            language_model = add_lora(language_model, lora)
            materialise(language_model)
        projector = None if config.projector is None else build_projector(config.projector).to(device)
        base = fingerprint(config.language_model)
        model = cls(language_model, tokenizer, projector, config, frame=frame, base=base)
        with tempfile.TemporaryDirectory() as folder:  # what could not be saved is said before the training
            save_tokenizer(tokenizer, Path(folder), model.parts.probe)
        return model

    @property
    def parts(self) -> Parts:
        """What the model is made of, as a checkpoint keeps it."""
        return Parts(
            self.language_model,
            self.tokenizer,
            self.projector,
            self.settings,
            self.standardize,
            self.prompter.frame,
            self.base,
        )

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        unpacked: bool = False,
    ) -> SefarMLLM:
        """The model that ``save_pretrained`` wrote, into a folder or pushed to the Hub as ``OWNER/NAME``.

        Ready for scoring; see `checkpoint.load_parts` for the arguments and errors.
        """
        parts = load_parts(find_checkpoint(folder), dtype, device, unpacked)
        return cls(**vars(parts)).eval()

    def save_pretrained(self, folder: str | Path, state: dict[str, Tensor] | None = None) -> None:
        """Write all but the frozen weights. See `checkpoint.save_parts`."""
        save_parts(self.parts, Path(folder), state)

    def push_to_hub(self, repo: str, private: bool = False) -> str:
        """Put the model on the Hub as ``OWNER/NAME``. Returns its address. See `hub.push`."""
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return push(PushConfig(Path(folder), repo, private))

    @property
    def causal(self) -> PreTrainedModel:
        """The Transformers model inside the adapter, if there is one."""
        model = self.language_model
        return model.get_base_model() if isinstance(model, PeftModel) else model  # type: ignore[return-value]

    @property
    def device(self) -> torch.device:
        """Where the language model's embeddings are."""
        return self.causal.get_input_embeddings().weight.device  # type: ignore[return-value]

    def tie_weights(self) -> None:
        """Make head and embeddings one again, if they are one; called by Accelerate as it spreads them."""
        self.causal.tie_weights()

    def embed(self, ids: Tensor, features: Tensor | None) -> Tensor:
        """Input embeddings ``(B, S, hidden)`` of ids ``(B, S)``, the videos' tokens put at ``VIDEO_ID``.

        Args:
            ids: token ids; a row holds one ``VIDEO_ID`` for each of the projector's tokens, or none.
            features: standardised, ``(V, n, dim)``, of the ``V`` rows with places for a video, in their
                order; or none.
        """
        places = ids == VIDEO_ID
        words = self.causal.get_input_embeddings()(ids.masked_fill(places, 0))
        counts = places.sum(1)
        if self.projector is None or features is None:
            if bool(places.any()):
                raise SefarMLLMError("the prompt has a place for a video, but there are no features for it")
            if self.training and self.projector is not None and self.settings.projector is not None:
                # Every process must use the projector in every step, or its gradients could not be averaged.
                spec = self.settings.projector
                words = words + 0 * self.projector(words.new_zeros(1, spec.tokens, spec.dim).float()).sum()
            return words
        # ZeRO-3 casts what goes into the model to half precision, but leaves trained weights in float32.
        features = features.to(next(self.projector.parameters()).dtype)
        tokens = self.projector(features).to(words.dtype)
        if counts[counts > 0].tolist() != [tokens.shape[1]] * len(tokens):
            raise SefarMLLMError(
                f"{len(tokens)} videos of {tokens.shape[1]} tokens do not fit the places in the prompts: "
                f"{counts.tolist()}"
            )
        return words.masked_scatter(places[..., None], tokens)

    def inputs(self, ids: Tensor, features: Tensor | None) -> dict[str, Any]:
        """What the Transformers model takes for ids ``(B, S)`` with videos put at ``VIDEO_ID``: see `embed`.

        Families that have embeddings for every layer (Gemma 3n, Gemma 4) look them up by the ids; a video's
        places have there what the family gives its own images, the padding token.
        """
        inputs: dict[str, Any] = {"inputs_embeds": self.embed(ids, features)}
        decoder: Any = self.causal.get_decoder()
        if getattr(decoder, "hidden_size_per_layer_input", None):
            padding = decoder.config.pad_token_id or 0
            inputs["per_layer_inputs"] = decoder.get_per_layer_inputs(
                ids.masked_fill(ids == VIDEO_ID, padding)
            )
        return inputs

    def logits(self, chosen: Tensor, exact: bool = False, **inputs: Any) -> Tensor:
        """Logits ``(chosen, vocabulary)`` of chosen positions ``(B, S)``: see `head.chosen_logits`."""
        return chosen_logits(self.causal, chosen, exact, **inputs)

    def forward(
        self,
        ids: Tensor,
        attention_mask: Tensor,
        labels: Tensor,
        features: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
    ) -> dict[str, Any]:
        """Cross-entropy of the supervised tokens.

        Args:
            ids: ``(B, S)``, padded on the right.
            attention_mask: ``(B, S)``, 1 for tokens and 0 for padding.
            labels: ``(B, S)``, aligned with ``ids``; ``IGNORED`` carries no loss.
            features: standardised, ``(V, n, dim)``, of the rows that have places for a video.
            num_items_in_batch: divide the summed loss by this rather than by this batch's supervised tokens,
                so that accumulated batches weigh every token alike.

        Returns:
            ``{"loss": scalar}``.
        """
        targets = F.pad(labels[:, 1:], (0, 1), value=IGNORED)
        supervised = targets != IGNORED
        logits = self.logits(supervised, **self.inputs(ids, features), attention_mask=attention_mask)
        loss = F.cross_entropy(logits, targets[supervised], reduction="sum")
        return {"loss": loss / (supervised.sum() if num_items_in_batch is None else num_items_in_batch)}
