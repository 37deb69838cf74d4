"""How much memory training an encoder takes on one GPU: a formula, counted against autograd in the tests.

With ``D`` the width, ``L`` blocks, ``r`` the ratio of the MLP, ``h`` heads, ``N`` frames, ``P`` patches of a
frame, ``b`` bytes of a number in products (4, or 2 in mixed precision) and ``n`` the clips of the largest
loss of a part of an update (one loss is computed at a time):

- *weights*: of the student 4 bytes each, and as many for the gradient; the optimizer's 4 (SGD) or 8 (AdamW);
  4 for the teacher; 2 more in mixed precision for the copies that products take;
- *activations*: what the backward pass needs, ``n · N`` times a frame's:

  - temporal attention of a block, of every patch: ``D · (4 + 6b)``: the input of its norm, which is computed
    in float32; then what the norm gives, queries, keys, values, what attention gives, what ``temporal_fc``
    takes;
  - spatial attention and MLP, of every patch and the CLS token: ``D · (4 + 5b)`` and
    ``D · (4 + b·(1 + 2r))``;
  - the norms' mean and deviation, the logarithm of attention's sums (rounded up to 32 positions), the
    pixels that are embedded and the mask of the feature dropout, once;

  with gradient checkpointing ``4D`` a token of every block, and the above of one block;
- *pictures*: decoded frames of the part, and two views of its ``n`` clips in float32;
- *workspace*: gradients on their way through one block.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

import torch

from encoder.model.backbone import ViTShape
from encoder.model.sefar import SefarEncoder
from encoder.model.starting_weights import load_starting_weights
from encoder.recipes.config import find_recipe
from encoder.training.build import network_shape
from encoder.training.config import ModelConfig, TrainConfig
from encoder.video.elements import TemporalElements

GB = 1e9
CLASSES = 99  # their number hardly matters


@dataclass(frozen=True)
class EncoderMemory:
    """Bytes of an update on one GPU; see the top of this file."""

    weights: float
    activations: float
    pictures: float
    workspace: float

    @property
    def total(self) -> float:
        """The peak, without Python, its libraries and the GPU's context."""
        return self.weights + self.activations + self.pictures + self.workspace

    def __str__(self) -> str:
        rows = [(field.name, getattr(self, field.name)) for field in fields(self)]
        lines = [f"{name:<12} {size / GB:6.2f} GB" for name, size in (*rows, ("peak", self.total))]
        return "\n".join(lines)


def training_memory(config: TrainConfig, processes: int = 1) -> EncoderMemory:
    """Memory that an update takes on each GPU.

    Args:
        config: The options of the training; no weights are loaded and no list is read.
        processes: GPUs that share an update.

    Raises:
        EncoderError: There are no such starting weights.
    """
    model = config.model
    size = 4 if config.mixed_precision == "no" else 2
    labelled = -(-config.labelled_batch // (processes * config.accumulate))
    recipe = find_recipe(config.recipe.name)
    supervised = not recipe.unlabelled_losses
    clips = labelled if supervised else labelled * max(1, config.unlabelled_ratio)
    shape, parameters = network_size(model)
    elements = TemporalElements.parse(model.elements)
    copies = 3 + (config.optim.name == "adamw") + recipe.has_teacher
    frames = clips * elements.n_frames
    short = config.data.short_side
    decoded = (
        (clips + (0 if supervised else labelled)) * elements.n_frames * 3 * short * round(short * 16 / 9)
    )
    tokens = frames * (1 + shape.n_patches)
    hidden = 2 * shape.mlp_ratio * size + 12  # of the MLP, and of the residual stream
    return EncoderMemory(
        weights=parameters * (4 * copies + (size if size < 4 else 0)),
        activations=clips * clip_activations(shape, elements, size, model.gradient_checkpointing),
        pictures=decoded + 2 * 4 * frames * 3 * shape.image_size**2,
        workspace=tokens * shape.dim * hidden,
    )


def clip_activations(
    shape: ViTShape, elements: TemporalElements, size: int, checkpointing: bool = False
) -> float:
    """Bytes that autograd keeps of one clip, with ``size`` bytes for a number in products."""
    frames, patches, dim = elements.n_frames, shape.n_patches, shape.dim
    tokens = frames * (1 + patches)
    over_time = frames * patches * (dim * (4 + 6 * size) + 8)
    within = tokens * (dim * (8 + size * (6 + 2 * shape.mlp_ratio)) + 16)
    sums = 4 * shape.heads * (patches * _up(frames) + frames * _up(1 + patches))
    block = over_time + within + sums
    blocks = shape.depth * 4 * dim * tokens + block if checkpointing else shape.depth * block
    pixels = frames * patches * (3 * shape.patch_size**2 * size + dim)
    return blocks + pixels + tokens * (4 * dim + 8)


def _up(length: int) -> int:
    return -(-length // 32) * 32


def network_size(model: ModelConfig) -> tuple[ViTShape, int]:
    """Shape of the network that ``model`` describes, and its number of weights; none are fetched."""
    with torch.device("meta"):
        weights = load_starting_weights(model.weights, pretrained=False) if model.weights else None
        shape = network_shape(model, weights)
        network = SefarEncoder(CLASSES, asdict(shape), model.elements)
    return shape, sum(p.numel() for p in network.parameters())
