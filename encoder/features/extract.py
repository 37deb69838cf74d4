"""From clip lists to a feature store."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from encoder.device import automatic_precision, multiply_in_tf32
from encoder.errors import EncoderError
from encoder.features.store import FeatureStore, StoreFacts, ordered_fingerprint
from encoder.loading.batches import Batches
from encoder.loading.data import FrameSource, ReadConfig, derive_seed, open_source
from encoder.processes.group import Processes, join
from encoder.processes.waiting import leaving_together
from encoder.video.clips import Clip, read_clips
from encoder.visual.base import VisualEncoder, located
from encoder.visual.factory import open_encoder

log = logging.getLogger("encoder")

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
SHARD_CLIPS = 512
_SAME = ("views", "seed", "short_side", "precision", "dtype")  # in all features of a store
FrameOrder = Literal["filmed", "reversed", "shuffled"]


@dataclass(frozen=True)
class ExtractConfig(ReadConfig):
    """Run a frozen visual encoder over clips and store what it hands over.

    Stopped at any moment and started again, it goes on with the clips that are not stored yet.

    Attributes:
        encoder: The visual encoder: ``sefar:FOLDER``, ``timm:NAME``, ``hf:NAME-OR-FOLDER``,
            ``efficientnet-lite0`` or ``dinov2-s``, with options as in ``sefar:FOLDER?tokens=elements``.
        clips: Clip lists.
        output: Folder of the feature store.
        views: Views of a clip: the first of the middle frames, the others of frames drawn at random.
        frame_order: Order in which the encoder is shown a clip's frames: as filmed, reversed or shuffled (by
            the seed and the clip). The others are controls: who does not need the right order does not look
            at time. Such a store has a fingerprint of its own and serves evaluation alone.
        seed: Seed of the frames of the other views, and of shuffling.
        batch: Clips in a batch.
        device: Where the encoder runs; by default the GPU where there is one.
        precision: fp32 or bf16, in which the encoder computes (on a GPU its weights too), or auto: bf16 on a
            GPU that multiplies in it, else fp32.
        dtype: Type of the stored features: fp16, bf16 or fp32.
    """

    encoder: str
    clips: list[Path]
    output: Path
    views: int = 1
    frame_order: FrameOrder = "filmed"
    seed: int = 0
    short_side: int | None = field(default=None, kw_only=True)
    batch: int = 16
    device: str | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    dtype: Literal["fp16", "bf16", "fp32"] = "fp16"

    def __post_init__(self) -> None:
        for name in ("views", "batch"):
            if getattr(self, name) < 1:
                raise EncoderError(f"{name}: expected at least 1, got {getattr(self, name)}")


def extract(config: ExtractConfig) -> FeatureStore:
    """Extracts the features of all clips that the store has not yet.

    Processes that were launched together share the clips, batch by batch, and write shards of their own.

    Raises:
        EncoderError: A clip list or the encoder is at fault, the store holds other features, or, once all
            others are stored, a clip could not be read.
    """
    clips: dict[str, Clip] = {}
    for path in config.clips:
        for clip in read_clips(path, config.video_root):
            if clips.setdefault(clip.id, clip).path != clip.path:
                raise EncoderError(f"{path}: {clip.path} and {clips[clip.id].path} have the same clip id")
    processes = join("extract-features", config.device)
    device = processes.device
    if config.precision == "auto":
        quick = device.type == "cuda" and automatic_precision() == "bf16"
        config = replace(config, precision="bf16" if quick else "fp32")
    multiply_in_tf32(device)
    encoder = open_encoder(config.encoder, device, _weights(config, device))
    store = processes.once(lambda: _open_store(config, encoder))
    todo = [clips[clip] for clip in store.missing(list(clips))]
    size = config.views * encoder.num_tokens * encoder.dim * DTYPES[config.dtype].itemsize
    log.info(
        f"{config.output}: {len(todo)} of {len(clips)} clips to extract, {config.views} × "
        f"{encoder.num_tokens} tokens × {encoder.dim}, {len(todo) * size / 1e6:.1f} MB"
    )
    return _fill(config, store, encoder, todo, processes) if todo else store


def _fill(
    config: ExtractConfig,
    store: FeatureStore,
    encoder: VisualEncoder,
    todo: list[Clip],
    processes: Processes,
) -> FeatureStore:
    """Extracts the features of ``todo`` into the store."""
    with leaving_together():
        source = open_source(config, todo)
    shard: dict[str, Tensor] = {}
    broken: list[str] = []
    with tqdm(total=len(todo), desc="extracting", unit="clip", disable=not processes.first) as bar:
        for name, tokens in _encoded(config, encoder, todo, source, processes, broken):
            shard[name] = tokens.to(DTYPES[config.dtype])
            if len(shard) == SHARD_CLIPS:
                store.add(shard, processes.rank)
                shard = {}
            bar.update(min(processes.world, len(todo) - bar.n))
    if shard:
        store.add(shard, processes.rank)
    broken = [line for lines in processes.gather([broken]) for line in lines]
    store = processes.once(store.take_in)
    if broken:
        raise EncoderError(
            f"{len(broken)} of {len(todo)} clips cannot be read, the others are stored; mend these "
            f"or take them out of the list: {'; '.join(broken[:3])}{' …' if len(broken) > 3 else ''}"
        )
    return store


def _weights(config: ExtractConfig, device: torch.device) -> torch.dtype:
    """Type of the encoder's weights. A CPU gains nothing by bfloat16, and autocast there sums in float32."""
    return torch.bfloat16 if config.precision == "bf16" and device.type == "cuda" else torch.float32


def _open_store(config: ExtractConfig, encoder: VisualEncoder) -> FeatureStore:
    identity = ordered_fingerprint(encoder.fingerprint, config.frame_order)
    facts = StoreFacts(
        encoder=config.encoder,
        location=located(config.encoder),
        fingerprint=identity,
        sampling=str(encoder.sampling),
        dim=encoder.dim,
        num_tokens=encoder.num_tokens,
        views=config.views,
        seed=config.seed,
        short_side=config.short_side,
        precision=config.precision,
        dtype=config.dtype,
    )
    if not (config.output / "index.json").is_file():
        if config.output.is_dir() and any(config.output.iterdir()):
            raise EncoderError(f"{config.output}: is not a feature store and not empty; name another folder")
        store = FeatureStore(config.output, facts, {})
        store.write_index()
        return store
    store = FeatureStore.open(config.output, identity).take_in()
    before = {
        name: getattr(store.facts, name)
        for name in _SAME
        if getattr(store.facts, name) != getattr(facts, name)
    }
    if before:
        raise EncoderError(
            f"{config.output}: was extracted with another {', '.join(before)} "
            f"({', '.join(map(str, before.values()))}); name another folder"
        )
    return store


class _ViewInputs(Dataset[Any]):
    """All views of a clip, decoded at once and brought to what the encoder takes.

    That is done by whoever decodes, so that what passes between processes has the encoder's size and not the
    video's. Holds no weights.
    """

    def __init__(
        self,
        config: ExtractConfig,
        encoder: VisualEncoder,
        clips: list[Clip],
        source: FrameSource,
        dtype: torch.dtype,
    ) -> None:
        self.views, self.seed, self.sampling = config.views, config.seed, encoder.sampling
        self.transform, self.dtype = encoder.transform, dtype
        self.order, self.clips, self.source = config.frame_order, clips, source

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> tuple[str, Tensor] | str:
        clip = self.clips[i]

        def choose(n_frames: int) -> list[int]:
            frames: list[int] = []
            for view in range(self.views):
                generator = torch.Generator().manual_seed(derive_seed(self.seed, clip.id, view))
                drawn = self.sampling.sample(n_frames, generator if view else None)
                frames += in_order(drawn, self.order, generator)
            return frames

        try:
            frames = torch.from_numpy(self.source.read(clip, choose))
            # One view at a time: 1080p in float32 takes 200 MB.
            views = [self.transform(view[None]).to(self.dtype) for view in frames.chunk(self.views)]
            return clip.id, torch.cat(views)
        except EncoderError as error:
            return str(error)


def in_order(frames: list[int], order: FrameOrder, generator: torch.Generator) -> list[int]:
    """Frame indices in the order in which they are shown."""
    if order == "shuffled":
        return [frames[i] for i in torch.randperm(len(frames), generator=generator).tolist()]
    return frames[::-1] if order == "reversed" else frames


def _collated(items: list[tuple[str, Tensor] | str]) -> tuple[list[str], Tensor, list[str]]:
    """Clip ids, their inputs ``(B, views, T, C, S, S)``, and what is wrong with the clips left out."""
    read = [item for item in items if not isinstance(item, str)]
    inputs = torch.stack([x for _, x in read]) if read else torch.empty(0)
    return [clip for clip, _ in read], inputs, [item for item in items if isinstance(item, str)]


def _encoded(
    config: ExtractConfig,
    encoder: VisualEncoder,
    clips: list[Clip],
    source: FrameSource,
    processes: Processes,
    broken: list[str],
) -> Iterator[tuple[str, Tensor]]:
    """Clip ids and tokens ``(views, num_tokens, dim)`` of this process's batches; what is wrong with other
    clips goes to ``broken``."""
    device = processes.device
    weights = _weights(config, device)
    inputs_of = _ViewInputs(config, encoder, clips, source, weights)
    indices = list(range(len(clips)))
    batches = [indices[i : i + config.batch] for i in range(0, len(indices), config.batch)]
    mine = list(processes.mine(batches))
    options = {"collate_fn": _collated, "pin_memory": device.type == "cuda"}
    autocast = config.precision == "bf16" and weights == torch.float32
    for names, inputs, messages in Batches(inputs_of, mine, config.workers, source.watch, **options):
        broken += messages
        if names:
            x = inputs.to(device, non_blocking=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                tokens = encoder.encode(x.flatten(0, 1))
            yield from zip(names, tokens.cpu().unflatten(0, x.shape[:2]), strict=True)
