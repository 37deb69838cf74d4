"""The verb ``doctor``: what would go wrong later, found out beforehand."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from encoder.files import write_json
from encoder.loading.scan import scan_clips
from encoder.video.elements import TemporalElements
from sefar_mllm.doctor.fits import Fit, check_encoder_fit, check_fit
from sefar_mllm.doctor.memory import Setup
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.model.language_model import Precision, resolve_dtype
from sefar_mllm.model.lora import LoraOptions


@dataclass(frozen=True)
class DoctorConfig:
    """Look through clip lists before training, and say how much memory training will take.

    Every frame of every video is decoded. Clips that are missing, unreadable or too short, and videos that
    are odd, are reported with the line of their list. For the training of an encoder, and the fine-tuning of
    a language model, the memory of a step is told, part by part, and whether it fits on this machine; no
    weights are loaded. The exit status tells whether a clip cannot be used or the memory is too little. The
    self-test runs every step of the path on this machine, small.

    Attributes:
        clips: Clip lists to look through.
        video_root: Folder that the videos' paths start from; by default each clip list's own.
        elements: Frames of each temporal element; a clip needs as many frames as the last one.
        reader: pyav or decord, as training is to read the videos.
        workers: Worker processes that decode.
        encoder: Options of train-encoder, a YAML file such as configs/encoder/gym99-s.yaml; the memory is
            that of one GPU.
        processes: GPUs that share an update of the encoder.
        language_model: Language model to fine-tune: SmolLM2-135M-Instruct (embedded), a folder with a
            config.json, or a name on the Hub.
        load_in_4bit: Its frozen weights in NF4; in the run, quantization: nf4.
        precision: Of frozen weights and products; auto is bf16 where the hardware multiplies in it.
        batch_size: Samples of a step on one device.
        length: Tokens of a sample, the video's among them.
        lora_rank: Rank of the adapter, on every linear layer.
        projector: mlp, linear, pool, resampler or qformer, with options as in ``resampler?depth=4``.
        feature_dim: Width of the stored features.
        checkpointing: Gradient checkpointing; in the run, trainer: {gradient_checkpointing: true}.
        device: auto, cpu or cuda.
        memory: GB to fit into, to plan for another machine; by default what is free on this one.
        output: JSON file to write the report to.
        self_test: Render, train, fine-tune a two-layer Vicuna, answer, merge and ask, on the device; minutes.
    """

    clips: list[Path] = field(default_factory=list)
    video_root: Path | None = None
    elements: str = "2-2-4"
    reader: Literal["pyav", "decord"] = "pyav"
    workers: int = 2
    encoder: Path | None = None
    processes: int = 1
    language_model: str | None = None
    load_in_4bit: bool = False
    precision: Precision = "auto"
    batch_size: int = 8
    length: int = 160
    lora_rank: int = 16
    projector: str = "mlp"
    feature_dim: int = 1024
    checkpointing: bool = False
    device: str = "auto"
    memory: float | None = None
    output: Path | None = None
    self_test: bool = False


def doctor(config: DoctorConfig) -> dict[str, Any]:
    """Run the verb: examine, print, write the report.

    Returns:
        The report as it is written: ``{"clips": …, "encoder_memory": …, "memory": …}`` as in
        :class:`encoder.loading.scan.ScanReport` and :class:`sefar_mllm.doctor.fits.Fit`, each where it was
        asked for.

    Raises:
        SefarMLLMError: Something is found that would stop training; the report is written all the same.
        EncoderError: A clip list is not there or does not parse.
    """
    if config.self_test:
        from sefar_mllm.doctor.self_test import (
            self_test,  # everything, which the other examinations do without
        )

        self_test(chosen_device(config))
    elif not config.clips and config.language_model is None and config.encoder is None:
        raise SefarMLLMError(
            "doctor: nothing to look at; give --clips, one or more clip lists, --encoder, --language-model "
            "or --self-test"
        )
    report: dict[str, Any] = {}
    complaints: list[str] = []
    if config.clips:
        elements = TemporalElements.parse(config.elements)
        scan = scan_clips(config.clips, elements, config.video_root, config.reader, config.workers)
        print(scan)
        report["clips"] = asdict(scan)
        if scan.unusable:
            complaints.append(
                f"{scan.unusable} of {scan.clips} clips cannot be used; "
                "mend them or take them out of the lists"
            )
    fits = {}
    if config.encoder is not None:
        device = chosen_device(config)
        fits["encoder_memory"] = check_encoder_fit(config.encoder, config.processes, device, config.memory)
    if config.language_model is not None:
        fits["memory"] = memory_fit(config, config.language_model)
    for name, fit in fits.items():
        print(fit)
        report[name] = fit.as_json()
        complaints += [fit.complaint()] if not fit.fits else []
    if config.output is not None:
        config.output.parent.mkdir(parents=True, exist_ok=True)
        write_json(config.output, report)
    if complaints:
        raise SefarMLLMError("; ".join(complaints))
    return report


def chosen_device(config: DoctorConfig) -> str:
    """The device that is examined."""
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    return automatic if config.device == "auto" else config.device


def memory_fit(config: DoctorConfig, language_model: str) -> Fit:
    """The memory of the fine-tuning step that ``config`` describes."""
    device = chosen_device(config)
    on_gpu = torch.device(device).type == "cuda"
    # A GPU that is planned for and not there multiplies in bfloat16, as all of the last years do.
    planned = config.precision == "auto" and on_gpu and not torch.cuda.is_available()
    setup = Setup(
        config.batch_size,
        config.length,
        torch.bfloat16 if planned else resolve_dtype(config.precision, device),
        config.load_in_4bit,
        LoraOptions(rank=config.lora_rank),
        checkpointing=config.checkpointing,
        fused_attention=on_gpu,
    )
    return check_fit(language_model, setup, config.projector, config.feature_dim, device, config.memory)
