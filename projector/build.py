"""Building a projector from its configuration, and keeping it on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from projector.errors import ProjectorError
from projector.mlp import LinearProjector, MLPProjector
from projector.pool import PoolProjector
from projector.queries import QFormerLayer, QueryProjector, ResamplerLayer
from projector.standardize import Standardize

WEIGHTS, CONFIG = "projector.safetensors", "projector.json"
MEAN, DEVIATION = "standardize.mean", "standardize.deviation"  # among the weights


@dataclass(frozen=True)
class ProjectorSpec:
    """A projector's kind and sizes: ``(B, tokens, dim) → (B, num_tokens, hidden)``.

    Projectors take features that `Standardize` has brought to unit size.

    Attributes:
        kind: one of ``PROJECTORS``.
        dim: width of the features.
        hidden: width of the language model.
        tokens: feature tokens of one clip.
        num_tokens: tokens that the language model gets.
    """

    kind: str
    dim: int
    hidden: int
    tokens: int
    num_tokens: int


PROJECTORS: dict[str, Callable[[ProjectorSpec], nn.Module]] = {
    "linear": lambda spec: LinearProjector(spec.dim, spec.hidden),
    "mlp": lambda spec: MLPProjector(spec.dim, spec.hidden),
    "pool": lambda spec: PoolProjector(spec.dim, spec.hidden, spec.tokens, spec.num_tokens),
    "resampler": lambda spec: QueryProjector(
        ResamplerLayer, spec.dim, spec.hidden, spec.tokens, spec.num_tokens
    ),
    "qformer": lambda spec: QueryProjector(QFormerLayer, spec.dim, spec.hidden, spec.tokens, spec.num_tokens),
}
TOKEN_BY_TOKEN = ("linear", "mlp")  # these give as many tokens as they get


def build_projector(spec: ProjectorSpec) -> nn.Module:
    """A new projector, ``(B, tokens, dim) → (B, num_tokens, hidden)``, for standardised features.

    Raises:
        ProjectorError: for an unknown kind or sizes that do not fit one another.
    """
    if spec.kind not in PROJECTORS:
        raise ProjectorError(f"there is no projector {spec.kind!r}; choose one of {', '.join(PROJECTORS)}")
    for name in ("dim", "hidden", "tokens", "num_tokens"):
        if getattr(spec, name) < 1:
            raise ProjectorError(f"projector {spec.kind!r}: {name} is {getattr(spec, name)}, not at least 1")
    if spec.kind in TOKEN_BY_TOKEN and spec.num_tokens != spec.tokens:
        raise ProjectorError(
            f"projector {spec.kind!r} gives one token for each of the {spec.tokens} feature tokens, not "
            f"{spec.num_tokens}; choose pool, resampler or qformer to change their number"
        )
    return PROJECTORS[spec.kind](spec)


def parameter_count(spec: ProjectorSpec) -> int:
    """Weights of a projector, without building it in memory."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_projector(spec).parameters())


def save_projector(
    folder: Path, spec: ProjectorSpec, state: dict[str, Tensor], standardize: Standardize
) -> None:
    """Write ``projector.safetensors`` and ``projector.json`` into ``folder``.

    Args:
        folder: made if it is not there.
        spec: the projector's kind and sizes.
        state: its weights.
        standardize: the statistics of the features that it takes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {**state, MEAN: standardize.mean, DEVIATION: standardize.deviation}
    weights = {name: tensor.detach().contiguous().cpu() for name, tensor in state.items()}
    save_file(weights, folder / f"{WEIGHTS}.tmp")
    (folder / f"{CONFIG}.tmp").write_text(json.dumps(asdict(spec), indent=2) + "\n", encoding="utf-8")
    for name in (WEIGHTS, CONFIG):
        os.replace(folder / f"{name}.tmp", folder / name)


def read_spec(folder: Path) -> ProjectorSpec:
    """The sizes of a saved projector.

    Raises:
        ProjectorError: when the file is missing or is no projector's.
    """
    file = folder / CONFIG
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProjectorError(f"{file}: no readable projector configuration ({error})") from error
    types = {field.name: str if field.name == "kind" else int for field in fields(ProjectorSpec)}
    if not isinstance(values, dict) or {key: type(value) for key, value in values.items()} != types:
        raise ProjectorError(
            f"{file}: expected exactly the keys {', '.join(types)} (a name and whole numbers)"
        )
    return ProjectorSpec(**values)


def load_projector(folder: Path) -> tuple[ProjectorSpec, nn.Module, Standardize]:
    """The projector that ``save_projector`` wrote into ``folder``, and the statistics that go before it.

    Raises:
        ProjectorError: when a file is missing, broken, or not what the configuration describes.
    """
    spec = read_spec(folder)
    module, standardize = build_projector(spec), Standardize(spec.tokens, spec.dim)
    file = folder / WEIGHTS
    try:
        state = load_file(file)
    except (OSError, SafetensorError) as error:
        raise ProjectorError(f"{file}: no readable projector weights ({error})") from error
    wanted = {**module.state_dict(), MEAN: standardize.mean, DEVIATION: standardize.deviation}
    expected = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if found != expected:
        wrong = sorted(
            name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
        )
        name = wrong[0]
        raise ProjectorError(
            f"{file}: not the weights of a {spec.kind!r} projector from {spec.dim} to {spec.hidden}: "
            f"{name} is {found.get(name, 'missing')}, expected {expected.get(name, 'nothing of that name')}; "
            f"take {WEIGHTS} and {CONFIG} from the same run"
        )
    standardize.mean, standardize.deviation = state.pop(MEAN).float(), state.pop(DEVIATION).float()
    module.load_state_dict(state)
    return spec, module, standardize
