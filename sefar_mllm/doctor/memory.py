"""How much memory fine-tuning takes on one device: a formula, checked against measurements in the tests.

With ``h`` the language model's width, ``f`` its MLP's, ``L`` layers, ``a`` attention heads, ``T`` tokens of a
batch (samples × length), ``b`` bytes of a number in the products (4 in float32, 2 in bfloat16):

- *frozen*: weights of the decoder's linear layers at ``b`` bytes, or 0.516 in NF4 with double quantisation
  (4 bits, and 8 bits a block of 64, and 32 bits 256 blocks: Dettmers et al. 2023, section 3); all other
  weights at ``b``;
- *trained*: adapter and projector at 16 bytes a weight: float32 weight, gradient and Adam's two moments; and
  ``b`` more for their copies in the products where those are not in float32;
- *activations*: what the backward pass needs of every layer,
  ``T · (8h + b · (h · inputs + 3q + o + 4f + ranks)) + attention``, where

  - ``8h`` are the inputs of the two norms, which are computed in float32;
  - ``inputs`` are 2 in float32 (what the two norms give) and 5 otherwise: each of q, k, v, gate and up keeps
    a copy of its own for its adapter;
  - ``3q`` are queries, keys and values (less where heads share keys and attention is fused); ``o`` what
    attention gives (twice where it is fused and not in float32: its own output and the adapter's copy of
    it); ``4f`` the gate, its SiLU, the other branch and their product; ``ranks`` what the adapter's first
    halves give;
  - *attention* is ``T · S · a`` probabilities in float32, and again in ``b`` where that is less; fused
    attention keeps none of them.

  With gradient checkpointing, a layer's input ``b · h · T`` of every layer, and the above of one;
- *workspace*: gradients on their way through one layer, the logits of the supervised tokens, and in NF4 the
  largest layer unpacked.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig

from projector.base import ProjectorSpec
from projector.build import parameter_count
from sefar_mllm.model.lora import LoraOptions, add_lora

NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
TRAINED_BYTES = 16
GB = 1e9


@dataclass(frozen=True)
class Setup:
    """One fine-tuning step, as far as memory goes.

    Attributes:
        batch_size: samples in a batch.
        length: tokens of a sample, the video's among them.
        dtype: of frozen weights and products.
        four_bit: frozen linear layers in NF4.
        lora: the adapter.
        projector: its kind and sizes, or none.
        checkpointing: gradient checkpointing.
        fused_attention: attention that keeps no probabilities (on GPUs; on CPUs attention is plain).
        answer_tokens: supervised tokens of a sample.
    """

    batch_size: int
    length: int
    dtype: torch.dtype = torch.bfloat16
    four_bit: bool = False
    lora: LoraOptions = LoraOptions()  # noqa: RUF009 - frozen
    projector: ProjectorSpec | None = None
    checkpointing: bool = False
    fused_attention: bool = True
    answer_tokens: int = 10


@dataclass(frozen=True)
class Memory:
    """Bytes of a fine-tuning step; see the top of this file."""

    frozen: float
    trained: float
    activations: float
    workspace: float

    @property
    def total(self) -> float:
        """The peak, without Python, its libraries and the GPU's context."""
        return self.frozen + self.trained + self.activations + self.workspace

    def __str__(self) -> str:
        rows = [(field.name, getattr(self, field.name)) for field in fields(self)]
        lines = [f"{name:<12} {size / GB:6.2f} GB" for name, size in (*rows, ("peak", self.total))]
        return "\n".join(lines)


def finetune_memory(config: PretrainedConfig, setup: Setup) -> Memory:
    """Memory of a fine-tuning step of a Llama-like language model.

    Args:
        config: the language model's, from `transformers.AutoConfig`; no weights are needed.
        setup: the step.

    Raises:
        SefarMLLMError: when the adapter does not fit the model.
    """
    text = config.get_text_config()
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        head = model.get_output_embeddings()
        linear = [m for m in model.modules() if isinstance(m, nn.Linear) and m is not head]
        in_linear = sum(m.weight.numel() for m in linear)
        others = sum(p.numel() for p in model.parameters()) - in_linear
        adapted = add_lora(model, setup.lora) if setup.lora.rank else None
    trained = 0 if adapted is None else sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    if setup.projector is not None:
        trained += parameter_count(setup.projector)
    size = setup.dtype.itemsize
    tokens = setup.batch_size * setup.length
    layer = layer_activations(text, setup)
    layers = text.num_hidden_layers
    kept = layers * size * text.hidden_size * tokens + layer if setup.checkpointing else layers * layer
    # Backward through the MLP holds the gradients of its three branches, and of what comes in, at one time.
    passing = size * tokens * (3 * text.intermediate_size + 2 * text.hidden_size)
    logits = setup.batch_size * setup.answer_tokens * text.vocab_size * (size + 3 * 4)
    unpacked = max(m.weight.numel() for m in linear) * size if setup.four_bit else 0
    return Memory(
        frozen=in_linear * (NF4_BYTES if setup.four_bit else size) + others * size,
        trained=trained * (TRAINED_BYTES + (size if size < 4 else 0)),
        activations=kept,
        workspace=passing + logits + unpacked,
    )


def layer_activations(text: PretrainedConfig, setup: Setup) -> float:
    """Bytes that one decoder layer keeps for the backward pass."""
    size, tokens = setup.dtype.itemsize, setup.batch_size * setup.length
    heads = text.num_attention_heads
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // heads
    queries = heads * head_dim
    keys = (getattr(text, "num_key_value_heads", None) or heads) * head_dim
    if not setup.fused_attention:
        keys = queries  # repeated for every head that shares them
    inputs = 2 if size == 4 else 5
    output = queries * (2 if setup.fused_attention and size < 4 else 1)
    ranks = 7 * setup.lora.rank
    norms = 8 * text.hidden_size + 8  # their inputs, and two root mean squares
    numbers = text.hidden_size * inputs + queries + 2 * keys + output + 4 * text.intermediate_size + ranks
    probabilities = setup.length * (4 + (size if size < 4 else 0))
    attention = heads * (4 if setup.fused_attention else probabilities)  # fused: the logarithm of their sum
    return tokens * (norms + size * numbers + attention)


def available(device: torch.device) -> float:
    """Bytes that are free on this machine: on the GPU, or in main memory."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            values = dict(line.split(":") for line in lines)
        return float(values["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return float(os.sysconf("SC_AVPHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
