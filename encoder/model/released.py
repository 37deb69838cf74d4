"""The verb ``import-released``: a checkpoint of SeFAR's released code as a `SefarEncoder` folder."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from encoder.errors import EncoderError, first_line
from encoder.model.backbone import ViTShape
from encoder.model.sefar import SefarEncoder
from encoder.video.elements import TemporalElements

HEAD_WIDTH = 64  # of an attention head, in every ViT that the code starts from
MEAN, STD, CROP = (0.45,) * 3, (0.225,) * 3, 1.0  # what the released code does to pixels

# Parameters of the released network by what their names end in, and of ours.
_NAMES = [
    (r"patch_embed\.proj\.(weight|bias)", r"backbone.patch_embed.\1"),
    (r"(cls_token|pos_embed)", r"backbone.\1"),
    (r"blocks\.(\d+)\.temporal_norm1\.(weight|bias)", r"backbone.blocks.\1.temporal_norm.\2"),
    (r"blocks\.(\d+)\.mlp\.(fc[12])\.(weight|bias)", r"backbone.blocks.\1.\2.\3"),
    (r"(blocks\.\d+\.(?:temporal_attn|temporal_fc|norm1|attn|norm2)\..*)", r"backbone.\1"),
    (r"(norm\.(?:weight|bias))", r"backbone.\1"),
    (r"post_fusion1\.(weight|bias)", r"head.pair.0.\1"),
    (r"ln1\.(weight|bias)", r"head.pair.2.\1"),
    (r"post_fusion0\.(weight|bias)", r"head.single.0.\1"),
    (r"ln2\.(weight|bias)", r"head.single.2.\1"),
    (r"global_fusion\.(weight|bias)", r"head.fuse.0.\1"),
    (r"ln3\.(weight|bias)", r"head.fuse.2.\1"),
    (r"fc\.(weight|bias)", r"head.classifier.\1"),
]
_PREFIX = re.compile(r"^(?:module\.)?(?:vit\.)?(?:model\.)?")


@dataclass(frozen=True)
class ImportReleasedConfig:
    """Turn a checkpoint of SeFAR's released code into a folder that every verb takes as ``sefar:FOLDER``.

    No code of the file is run. Temporal elements, classes and width are read from its tensors, the picture
    size from its configuration.

    Attributes:
        file: The checkpoint, ``.pyth``.
        output: Folder to write.
        image_size: Side of the network's input in pixels; by default what the file's configuration says, else
            what its positions are for.
    """

    file: Path
    output: Path
    image_size: int | None = None


def import_released(config: ImportReleasedConfig) -> Path:
    """Run the verb. Returns the folder.

    Raises:
        EncoderError: The file cannot be read, or does not hold the released network.
    """
    if config.output.exists():
        raise EncoderError(f"{config.output}: exists; name a new folder")
    state, crop_size = read_released(config.file)
    network = released_encoder(state, config.image_size or crop_size, config.file)
    network.save_pretrained(config.output)
    print(
        f"{config.output}: {sum(p.numel() for p in network.parameters()):,} parameters, elements "
        f"{network.elements}, {network.num_classes} classes, {network.shape.image_size} px"
    )
    return config.output


def read_released(path: Path) -> tuple[dict[str, Tensor], int | None]:
    """Tensors by name, and the input size in pixels that the file's configuration (YAML text) gives."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise EncoderError(f"{path}: no such file") from None
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise EncoderError(
            f"{path}: not a checkpoint of tensors and plain values ({first_line(error)}); nothing else is "
            "loaded"
        ) from None
    content = content if isinstance(content, Mapping) else {}
    state = content.get("model_state", content)
    tensors = {
        _PREFIX.sub("", str(name)): value
        for name, value in (state.items() if isinstance(state, Mapping) else ())
        if isinstance(value, Tensor)
    }
    size = re.search(r"^\s*TRAIN_CROP_SIZE:\s*(\d+)\s*$", str(content.get("cfg", "")), re.MULTILINE)
    return tensors, int(size[1]) if size else None


def released_encoder(state: Mapping[str, Tensor], image_size: int | None, path: Path) -> SefarEncoder:
    """Our network with the tensors of the released one.

    Args:
        state: Tensors under the released names, without ``vit.model.``.
        image_size: Side of the input in pixels; None for what the positions are for. Positions are resized by
            nearest neighbour, as the released code does when it runs.
        path: The file, for messages.

    Raises:
        EncoderError: Tensors are missing, left over or of the wrong shape.
    """
    try:
        patches = state["patch_embed.proj.weight"]
        times: list[Tensor] = []
        while f"time_embed.{len(times)}" in state:
            times.append(state[f"time_embed.{len(times)}"][0])
        dim, _, patch, _ = patches.shape
        positions = state["pos_embed"][0]
        side = round((len(positions) - 1) ** 0.5)
        hidden = len(state["blocks.0.mlp.fc1.weight"])
        depth = 1 + max(int(match[1]) for name in state if (match := re.match(r"blocks\.(\d+)\.", name)))
        classes, elements = len(state["fc.weight"]), TemporalElements(tuple(map(len, times)))
    except (KeyError, IndexError, ValueError) as error:
        raise EncoderError(
            f"{path}: holds no network of SeFAR's released code ({type(error).__name__}: {error}); expected "
            "its 'vit.model.…', 'post_fusion…' and 'fc' tensors"
        ) from None
    size = image_size or side * patch
    shape = ViTShape(size, patch, dim, depth, dim // HEAD_WIDTH or 1, hidden / dim)
    network = SefarEncoder(classes, asdict(shape), str(elements), MEAN, STD, crop=CROP)
    ours, left = {}, []
    for name, value in state.items():
        if name.startswith("time_embed."):
            continue
        new = next((match.expand(to) for old, to in _NAMES if (match := re.fullmatch(old, name))), None)
        if new is None:
            left.append(name)
        else:
            ours[new] = value
    ours["backbone.patch_embed.weight"] = patches.flatten(1)
    ours["backbone.cls_token"] = state["cls_token"].flatten()
    ours["backbone.pos_embed"] = resized(positions, side, size // patch)
    ours["backbone.time_embed"] = torch.empty(elements.n_frames, dim)
    for slots, time in zip(elements.slots, times, strict=True):
        ours["backbone.time_embed"][list(slots)] = time.float()
    try:
        missing, extra = network.load_state_dict(ours, strict=False)
    except RuntimeError as error:
        raise EncoderError(f"{path}: {error}") from None
    if missing or extra or left:
        told = (
            f"lacks {', '.join(missing[:3])}" if missing else f"also holds {', '.join([*left, *extra][:3])}"
        )
        raise EncoderError(f"{path}: is not the network of SeFAR's released code: it {told}")
    return network


def resized(positions: Tensor, side: int, wanted: int) -> Tensor:
    """Positions ``(1 + side², D)`` for ``wanted`` patches a side, by nearest neighbour; the first stays."""
    grid = positions[1:].T.reshape(1, -1, side, side)
    return torch.cat([positions[:1], F.interpolate(grid, (wanted, wanted), mode="nearest").flatten(2)[0].T])
