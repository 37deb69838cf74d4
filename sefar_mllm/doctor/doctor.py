"""The verb ``doctor``: what would go wrong later, found out beforehand."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import torch

from encoder.device import own_device
from encoder.files import write_json
from encoder.loading.scan import ScanReport, scan_clips
from encoder.video.elements import TemporalElements
from sefar_mllm.doctor.fits import Fit, check_encoder_fit, check_fit
from sefar_mllm.doctor.memory import Setup
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.model.language_model import Precision, resolve_dtype
from sefar_mllm.model.lora import LoraOptions

T = TypeVar("T")


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


@dataclass(frozen=True)
class DoctorReport:
    """What was examined, each where it was asked for.

    Attributes:
        clips: the clip lists.
        encoder_memory: memory of the encoder's training.
        memory: memory of the fine-tuning.
    """

    clips: ScanReport | None = None
    encoder_memory: Fit | None = None
    memory: Fit | None = None

    def as_json(self) -> dict[str, object]:
        """The report as it is written."""
        fits = {"encoder_memory": self.encoder_memory, "memory": self.memory}
        clips = {} if self.clips is None else {"clips": asdict(self.clips)}
        return {**clips, **{name: fit.as_json() for name, fit in fits.items() if fit}}

    def complaints(self) -> list[str]:
        """What would stop a training, and what would help."""
        unusable = 0 if self.clips is None else self.clips.unusable
        fits = [fit.complaint() for fit in (self.encoder_memory, self.memory) if fit and not fit.fits]
        if not self.clips or not unusable:
            return fits
        return [
            f"{unusable} of {self.clips.clips} clips cannot be used; mend them or take them out of the lists",
            *fits,
        ]


def doctor(config: DoctorConfig) -> DoctorReport:
    """Run the verb: examine, print, write the report. Returns it.

    Raises:
        SefarMLLMError: Something is found that would stop training; the report is written all the same.
        EncoderError: A clip list is not there or does not parse.
    """
    if config.self_test:
        from sefar_mllm.doctor.self_test import (
            self_test,  # everything, which the other examinations do without
        )

        self_test(str(own_device(config.device)))
    elif not config.clips and config.language_model is None and config.encoder is None:
        raise SefarMLLMError(
            "doctor: nothing to look at; give --clips, one or more clip lists, --encoder, --language-model "
            "or --self-test"
        )
    report = DoctorReport(
        clips=told(clip_scan(config)) if config.clips else None,
        encoder_memory=told(encoder_fit(config, config.encoder)) if config.encoder else None,
        memory=told(memory_fit(config, config.language_model)) if config.language_model is not None else None,
    )
    if config.output is not None:
        config.output.parent.mkdir(parents=True, exist_ok=True)
        write_json(config.output, report.as_json())
    if complaints := report.complaints():
        raise SefarMLLMError("; ".join(complaints))
    return report


def told(part: T) -> T:
    """Print a part of the report as soon as it is known. Returns it."""
    print(part, flush=True)
    return part


def clip_scan(config: DoctorConfig) -> ScanReport:
    """Every clip of the lists, decoded."""
    elements = TemporalElements.parse(config.elements)
    return scan_clips(config.clips, elements, config.video_root, config.reader, config.workers)


def encoder_fit(config: DoctorConfig, settings: Path) -> Fit:
    """The memory of the encoder's training that the options ``settings`` describe."""
    return check_encoder_fit(settings, config.processes, str(own_device(config.device)), config.memory)


def memory_fit(config: DoctorConfig, language_model: str) -> Fit:
    """The memory of the fine-tuning step that ``config`` describes."""
    device = own_device(config.device)
    on_gpu = device.type == "cuda"
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
    return check_fit(language_model, setup, config.projector, config.feature_dim, str(device), config.memory)
