"""Building a projector from its configuration, and keeping it on disk."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, fields
from pathlib import Path
from urllib.parse import parse_qsl

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from projector.base import Projector, ProjectorOptions, ProjectorSpec
from projector.errors import ProjectorError
from projector.mlp import LinearProjector, MLPProjector
from projector.pool import PoolProjector
from projector.queries import QFormer, Resampler
from projector.standardize import Standardize

WEIGHTS, CONFIG = "projector.safetensors", "projector.json"
MEAN, DEVIATION = "standardize.mean", "standardize.deviation"  # among the weights


#: The projectors by name. Each has its own options, ``PROJECTORS[name].Options``.
PROJECTORS: dict[str, type[Projector]] = {
    "linear": LinearProjector,
    "mlp": MLPProjector,
    "pool": PoolProjector,
    "resampler": Resampler,
    "qformer": QFormer,
}


def parse_kind(kind: str) -> tuple[type[Projector], ProjectorOptions]:
    """``resampler?depth=4`` → the projector and its options.

    Raises:
        ProjectorError: there is no such projector, or it has no such option.
    """
    name, _, query = kind.partition("?")
    if name not in PROJECTORS:
        raise ProjectorError(f"there is no projector {name!r}; choose one of {', '.join(PROJECTORS)}")
    own = [field.name for field in fields(PROJECTORS[name].Options)]
    given = dict(parse_qsl(query, keep_blank_values=True))
    for option, value in given.items():
        if option not in own:
            raise ProjectorError(
                f"projector {kind!r}: no option {option!r}; {name!r} has {', '.join(own) or 'none'}"
            )
        if not (value.isascii() and value.isdigit() and int(value)):
            raise ProjectorError(f"projector {kind!r}: {option} must be a whole number above 0")
    options = {option: int(value) for option, value in given.items()}
    return PROJECTORS[name], PROJECTORS[name].Options(**options)


def build_projector(spec: ProjectorSpec) -> Projector:
    """A new projector, ``(B, tokens, dim) → (B, num_tokens, hidden)``, for standardised features.

    Raises:
        ProjectorError: for an unknown kind or option, or sizes that do not fit one another.
    """
    projector, options = parse_kind(spec.kind)
    for name in ("dim", "hidden", "tokens", "num_tokens"):
        if getattr(spec, name) < 1:
            raise ProjectorError(f"projector {spec.kind!r}: {name} is {getattr(spec, name)}, not at least 1")
    if projector.token_by_token and spec.num_tokens != spec.tokens:
        raise ProjectorError(
            f"projector {spec.kind!r} gives one token for each of the {spec.tokens} feature tokens, not "
            f"{spec.num_tokens}; choose pool, resampler or qformer to change their number"
        )
    return projector(spec, options)


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


def load_projector(folder: Path) -> tuple[ProjectorSpec, Projector, Standardize]:
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
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if shapes != expected:
        name = min(n for n in expected.keys() | shapes.keys() if expected.get(n) != shapes.get(n))
        raise ProjectorError(
            f"{file}: not the weights of a {spec.kind!r} projector from {spec.dim} to {spec.hidden}: "
            f"{name} is {shapes.get(name, 'missing')}, expected {expected.get(name, 'nothing of that name')}"
            f"; take {WEIGHTS} and {CONFIG} from the same run"
        )
    standardize.mean, standardize.deviation = state.pop(MEAN).float(), state.pop(DEVIATION).float()
    module.load_state_dict(state)
    return spec, module, standardize
