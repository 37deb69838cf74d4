"""Divided space-time vision transformer (TimeSformer) that takes all temporal elements in one pass.

Every frame carries its own copy of its element's CLS token, so that tokens form one regular tensor
``(B, N, 1 + P, D)``: ``N`` frames, ``P`` patches. Temporal attention is limited to frames of one element by
a mask, and the CLS copies of an element are averaged after spatial attention, which keeps them equal. The
result is that of running the backbone once per element, at the price of ``N − E`` redundant CLS tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from encoder.video.elements import TemporalElements


@dataclass(frozen=True)
class ViTShape:
    """Shape of a vision transformer.

    Attributes:
        image_size: Height and width of the input in pixels.
        patch_size: Height and width of a patch in pixels.
        dim: Width ``D``.
        depth: Number of blocks.
        heads: Attention heads; ``D / heads`` is the width of a head.
        mlp_ratio: Hidden width of the MLP as a multiple of ``D``.
        activation: ``gelu`` or ``quick_gelu`` (original CLIP), as timm names them.
        pre_norm: Whether the tokens are normalised before the first block (CLIP).
        norm_eps: ε of every layer normalisation.
    """

    image_size: int = 224
    patch_size: int = 16
    dim: int = 384
    depth: int = 12
    heads: int = 6
    mlp_ratio: float = 4.0
    activation: str = "gelu"
    pre_norm: bool = False
    norm_eps: float = 1e-6

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size

    @property
    def n_patches(self) -> int:
        """``P``, patches in a frame."""
        return self.grid**2


PRESETS = {
    "tiny": ViTShape(dim=192, heads=3),
    "S": ViTShape(dim=384, heads=6),
    "B": ViTShape(dim=768, heads=12),
}


# The CUDA kernels of attention spread the first two dimensions over a grid that goes no further.
_GRID = 65_535


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of ``(batch, heads, length, d)``, by a fused kernel where there is a good one."""
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:  # there the fused kernel trains more slowly
        weights = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        weights = weights if mask is None else weights.masked_fill(~mask, float("-inf"))
        return weights.softmax(-1).to(v.dtype) @ v
    for dim in (0, 1):
        if q.shape[dim] > _GRID:
            parts = zip(q.split(_GRID, dim), k.split(_GRID, dim), v.split(_GRID, dim), strict=True)
            return torch.cat([_attend(*part, mask) for part in parts], dim)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


class Attention(nn.Module):
    """Self-attention of tokens ``(B, N, S, D)`` over frames (``axis=1``) or within a frame (``axis=2``)."""

    def __init__(self, dim: int, heads: int, axis: int) -> None:
        super().__init__()
        self.heads, self.axis = heads, axis
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        b, n, s, d = x.shape
        # Fused kernels take four dimensions. Over frames, every head of every place is a head of its own;
        # that is a view, and so costs no copy, where queries, keys and values are products of their own.
        split = (b, n, s * self.heads, -1) if self.axis == 1 else (b * n, s, self.heads, -1)
        if torch.is_autocast_enabled(x.device.type):  # once, or each product would keep a copy of its own
            x = x.to(torch.get_autocast_dtype(x.device.type))
        of_q, _, of_v = self.qkv.bias.chunk(3)
        # A bias of the keys adds the same to all scores of a query: softmax takes it away again.
        parts = zip(self.qkv.weight.chunk(3), (of_q, None, of_v), strict=True)
        q, k, v = (F.linear(x, weight, bias).view(split).transpose(1, 2) for weight, bias in parts)
        return self.proj(_attend(q, k, v, mask).transpose(1, 2).reshape(b, n, s, d))


class Block(nn.Module):
    """Temporal attention and ``temporal_fc``, spatial attention, MLP; pre-norm, each with a residual."""

    def __init__(self, shape: ViTShape, drop_path: float) -> None:
        super().__init__()
        from timm.layers import DropPath, get_act_fn  # takes seconds: not for --help

        dim, hidden = shape.dim, int(shape.dim * shape.mlp_ratio)
        self.temporal_norm = nn.LayerNorm(dim, eps=shape.norm_eps)
        self.temporal_attn = Attention(dim, shape.heads, axis=1)
        self.temporal_fc = nn.Linear(dim, dim)
        self.norm1 = nn.LayerNorm(dim, eps=shape.norm_eps)
        self.attn = Attention(dim, shape.heads, axis=2)
        self.norm2 = nn.LayerNorm(dim, eps=shape.norm_eps)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.activation = get_act_fn(shape.activation)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, frame_mask: Tensor | None, cls_mean: Tensor) -> Tensor:
        """Tokens ``(B, N, 1 + P, D)`` → the same; the CLS token takes no part in temporal attention."""
        over_time = self.temporal_fc(self.temporal_attn(self.temporal_norm(x[:, :, 1:]), frame_mask))
        x = x + F.pad(self.drop_path(over_time), (0, 0, 1, 0))
        within = self.attn(self.norm1(x))
        # An element has one CLS token: what its frames' copies took in is averaged.
        cls = torch.matmul(cls_mean.to(within.dtype), within[:, :, 0])
        x = x + self.drop_path(torch.cat([cls.unsqueeze(2), within[:, :, 1:]], dim=2))
        return x + self.drop_path(self.fc2(self.activation(self.fc1(self.norm2(x)))))


class DividedSpaceTimeViT(nn.Module):
    """The backbone: frames ``(B, N, C, H, W)`` in slot order → normalised tokens ``(B, N, 1 + P, D)``.

    Token 0 of a frame is its element's CLS token. All elements share the weights; each slot of each element
    has its own learned time embedding, zero at the start. ``temporal_fc`` starts at zero, so that a network
    with the weights of an image ViT is, at first, that image network on every frame.

    Args:
        shape: Size of the transformer.
        elements: The temporal elements; fixes ``N``.
        drop_path: Stochastic depth of the last block, rising linearly from 0 (per clip).
    """

    frame_mask: Tensor | None
    cls_mean: Tensor
    first_slots: Tensor

    def __init__(self, shape: ViTShape, elements: TemporalElements, drop_path: float = 0.1) -> None:
        super().__init__()
        self.shape, self.elements = shape, elements
        self.gradient_checkpointing = False
        dim, patch = shape.dim, shape.patch_size
        self.patch_embed = nn.Linear(3 * patch * patch, dim)
        self.cls_token = nn.Parameter(torch.zeros(dim))
        self.pos_embed = nn.Parameter(torch.zeros(1 + shape.n_patches, dim))
        self.time_embed = nn.Parameter(torch.zeros(elements.n_frames, dim))
        self.pre_norm = nn.LayerNorm(dim, eps=shape.norm_eps) if shape.pre_norm else nn.Identity()
        rates = [drop_path * i / max(1, shape.depth - 1) for i in range(shape.depth)]
        self.blocks = nn.ModuleList(Block(shape, rate) for rate in rates)
        self.norm = nn.LayerNorm(dim, eps=shape.norm_eps)
        same = elements.same_element()
        self.register_buffer("frame_mask", None if len(elements.sizes) == 1 else same, persistent=False)
        self.register_buffer("cls_mean", same.float() / same.sum(1, keepdim=True), persistent=False)
        first = torch.tensor([element[0] for element in elements.slots])
        self.register_buffer("first_slots", first, persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for block in self.blocks:
            nn.init.zeros_(block.temporal_fc.weight)  # type: ignore[union-attr, arg-type]

    def embed(self, frames: Tensor, feature_dropout: float = 0.0) -> Tensor:
        """Frames ``(B, N, C, H, W)`` → input tokens ``(B, N, 1 + P, D)``; dropout on patch tokens only."""
        b, n, c = frames.shape[:3]
        p, g = self.shape.patch_size, self.shape.grid
        patches = frames.reshape(b, n, c, g, p, g, p).permute(0, 1, 3, 5, 2, 4, 6)
        patches = patches.reshape(b, n, g * g, c * p * p)
        x = self.patch_embed(patches) + self.pos_embed[1:] + self.time_embed[:, None]
        if feature_dropout:
            x = F.dropout(x, feature_dropout, training=self.training)
        cls = (self.cls_token + self.pos_embed[0]).to(x.dtype).expand(b, n, 1, -1)
        return self.pre_norm(torch.cat([cls, x], dim=2))

    def forward(self, frames: Tensor, feature_dropout: float = 0.0) -> Tensor:
        x = self.embed(frames, feature_dropout)
        for block in self.blocks:
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, self.frame_mask, self.cls_mean, use_reentrant=False)
            else:
                x = block(x, self.frame_mask, self.cls_mean)
        return self.norm(x)

    def element_tokens(self, tokens: Tensor) -> Tensor:
        """Tokens ``(B, N, 1 + P, D)`` → the CLS token of each element ``(B, E, D)``."""
        return tokens[:, :, 0].index_select(1, self.first_slots)
