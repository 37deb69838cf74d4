"""Features on disk: safetensors shards and an index that says which encoder made them, and how."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from encoder.errors import EncoderError
from encoder.files import write_json, written_whole


def ordered_fingerprint(fingerprint: str, frame_order: str) -> str:
    """Fingerprint of the features that an encoder makes of frames in this order (``filmed`` is its own)."""
    return fingerprint if frame_order == "filmed" else f"{fingerprint}-{frame_order}"


@dataclass(frozen=True, kw_only=True)
class StoreFacts:
    """Which features a store holds, and how they were made; None where it is not known.

    Attributes:
        encoder: Spec of the visual encoder.
        location: The same, to be found from any folder.
        fingerprint: Of the encoder, and of the frames' order.
        sampling: Temporal elements.
        dim: Width of a token.
        num_tokens: Tokens of a view.
        views: Views of a clip; view 0 is of the middle frames, the others of frames drawn at random.
        seed: Of these draws.
        short_side: Short side in pixels that frames were decoded to.
        precision: In which the encoder computed.
        dtype: Of the features.
    """

    encoder: str
    location: str | None = None
    fingerprint: str
    sampling: str | None = None
    dim: int
    num_tokens: int
    views: int
    seed: int | None = None
    short_side: int | None = None
    precision: str | None = None
    dtype: str | None = None


class FeatureStore:
    """Features of clips, memory-mapped: ``store[clip_id]`` is a tensor ``(views, tokens, dim)``.

    Attributes:
        path: The folder.
        facts: Which features these are.
        shards: Shard of each clip.
    """

    def __init__(self, path: Path, facts: StoreFacts, shards: dict[str, str]) -> None:
        self.path, self.facts, self.shards = path, facts, shards
        self._open: dict[str, Any] = {}

    @classmethod
    def open(cls, path: str | Path, fingerprint: str | None = None) -> FeatureStore:
        """Opens a store.

        Args:
            path: Its folder.
            fingerprint: The encoder whose features are wanted; None takes those of any encoder.

        Raises:
            EncoderError: No store there, a damaged index, or features of another encoder.
        """
        path = Path(path)
        try:
            index = json.loads((path / "index.json").read_text(encoding="utf-8"))
            store = cls(path, StoreFacts(**index["facts"]), index["clips"])
        except FileNotFoundError:
            raise EncoderError(f"{path}: no feature store; run 'sefar-mllm extract-features' first") from None
        except (KeyError, TypeError, ValueError) as error:
            raise EncoderError(f"{path / 'index.json'}: damaged ({error!r}); delete it and extract") from None
        if fingerprint is not None and store.fingerprint != fingerprint:
            raise EncoderError(
                f"{path}: holds features of {store.facts.encoder!r} ({store.fingerprint}), "
                f"not of the encoder asked for ({fingerprint}); extract its features into another folder"
            )
        return store

    @property
    def fingerprint(self) -> str:
        """Of the encoder that made the features."""
        return self.facts.fingerprint

    @property
    def dim(self) -> int:
        """Width of a token."""
        return self.facts.dim

    @property
    def num_tokens(self) -> int:
        """Tokens of a view."""
        return self.facts.num_tokens

    @property
    def views(self) -> int:
        """Views of a clip; view 0 is of the middle frames, the others of frames drawn at random."""
        return self.facts.views

    def __len__(self) -> int:
        return len(self.shards)

    def __contains__(self, clip: object) -> bool:
        return clip in self.shards

    def __getitem__(self, clip: str) -> Tensor:
        if clip not in self.shards:
            raise EncoderError(
                f"{self.path}: no features of the clip {clip!r}; run 'sefar-mllm extract-features' on a clip "
                "list that holds it"
            )
        name = self.shards[clip]
        try:
            if name not in self._open:
                self._open[name] = safe_open(self.path / name, framework="pt")
            return self._open[name].get_tensor(clip)
        except (SafetensorError, OSError) as error:
            raise EncoderError(
                f"{self.path / name}: damaged ({error}); delete the store and extract"
            ) from None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # open files stay in their process

    def missing(self, clips: list[str]) -> list[str]:
        """Those of ``clips`` that the store has not."""
        return [clip for clip in clips if clip not in self.shards]

    def add(self, features: dict[str, Tensor], rank: int = 0) -> None:
        """Writes another shard, then the index; stopped in between, the shard waits to be taken in.

        Args:
            features: Features of clips ``(views, tokens, dim)``.
            rank: Number of this process among those that fill the store together. Their shards have names of
                their own, and the first alone writes the index.
        """
        own = f"{rank}-" if rank else ""
        name = f"features-{own}{len(set(self.shards.values())):05d}.safetensors"
        with written_whole(self.path / name) as scratch:
            save_file({clip: tensor.contiguous() for clip, tensor in features.items()}, scratch)
        self.shards.update(dict.fromkeys(features, name))
        if rank == 0:
            self.write_index()

    def take_in(self) -> FeatureStore:
        """Puts shards into the index that are not in it: of other processes, or of one that was stopped.

        Raises:
            EncoderError: Such a shard is damaged.
        """
        known = set(self.shards.values())
        new = [file for file in sorted(self.path.glob("features-*.safetensors")) if file.name not in known]
        for file in new:
            try:
                with safe_open(file, framework="pt") as shard:
                    for clip in shard.keys():  # noqa: SIM118  (it is no mapping)
                        self.shards.setdefault(clip, file.name)
            except (SafetensorError, OSError) as error:
                raise EncoderError(f"{file}: damaged ({error}); delete it and extract") from None
        if new:
            self.write_index()
        return self

    def write_index(self) -> None:
        """Writes the index in one step."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "index.json", {"facts": asdict(self.facts), "clips": self.shards})
