"""Perturbations of the frames' order (method §4, tables 4 and 7). Each is an index into the slots of a clip.

An index ``(B, N)`` says which frame is put into each slot; pixels, colours and labels are never touched.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from encoder.device import to_device
from encoder.errors import EncoderError
from encoder.video.elements import TemporalElements

Perturbation = Callable[[int, TemporalElements], Tensor]


def _in_order(batch: int, elements: TemporalElements) -> Tensor:
    return torch.arange(elements.n_frames).repeat(batch, 1)


def _shuffled(batch: int, n: int) -> Tensor:
    return torch.rand(batch, n).argsort(1)


def spatial_only(batch: int, elements: TemporalElements) -> Tensor:
    """Every frame in its place."""
    return _in_order(batch, elements)


def t_drop(batch: int, elements: TemporalElements) -> Tensor:
    """Slow motion: half of the frames, drawn at random and kept in order, each shown twice."""
    n = elements.n_frames
    kept = _shuffled(batch, n)[:, : (n + 1) // 2].sort(1).values
    return kept.repeat_interleave(2, dim=1)[:, :n]


def all_shuffle(batch: int, elements: TemporalElements) -> Tensor:
    """All frames in random order."""
    return _shuffled(batch, elements.n_frames)


def local_shuffle(batch: int, elements: TemporalElements) -> Tensor:
    """Random order within every fine-grained element; the context element in order."""
    index = _in_order(batch, elements)
    for slots in elements.fine:
        index[:, list(slots)] = torch.tensor(slots)[_shuffled(batch, len(slots))]
    return index


def warping(batch: int, elements: TemporalElements) -> Tensor:
    """SVFormer's temporal warping: 2 or 4 of the frames, drawn at random and kept in order, are stretched
    over the clip."""
    n = elements.n_frames
    order = _shuffled(batch, n)

    def stretched(kept: int) -> Tensor:
        frames = order[:, :kept].sort(1).values
        return frames[:, torch.arange(n) * frames.shape[1] // n]

    return torch.where(torch.rand(batch, 1) < 0.5, stretched(2), stretched(4))


def t_half(batch: int, elements: TemporalElements) -> Tensor:
    """One half of the clip, the first or the second, at half speed."""
    n = elements.n_frames
    start = torch.randint(0, 2, (batch, 1)) * (n - (n + 1) // 2)
    return start + torch.arange(n) // 2


def all_reverse(batch: int, elements: TemporalElements) -> Tensor:
    """All frames from last to first."""
    return _in_order(batch, elements).flip(1)


def mod_perturb(batch: int, elements: TemporalElements) -> Tensor:
    """SeFAR's moderate perturbation: time reversed within every fine-grained element, the context element in
    order."""
    index = _in_order(batch, elements)
    for slots in elements.fine:
        index[:, list(slots)] = torch.tensor(slots[::-1])
    return index


PERTURBATIONS: dict[str, Perturbation] = {
    "spatial-only": spatial_only,
    "t-drop": t_drop,
    "all-shuffle": all_shuffle,
    "local-shuffle": local_shuffle,
    "warping": warping,
    "t-half": t_half,
    "all-reverse": all_reverse,
    "mod-perturb": mod_perturb,
}


def find_perturbation(name: str) -> Perturbation:
    """The perturbation of that name. Raises EncoderError naming those there are."""
    if name not in PERTURBATIONS:
        raise EncoderError(f"perturbation {name!r}: expected one of {', '.join(PERTURBATIONS)}")
    return PERTURBATIONS[name]


def reorder(clips: Tensor, index: Tensor) -> Tensor:
    """Clips ``(B, N, …)`` with frame ``index[b, s]`` in slot ``s``; ``index`` is ``(B, N)``."""
    return clips[torch.arange(len(clips), device=clips.device)[:, None], to_device(index, clips.device)]
