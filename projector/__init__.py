"""Features of a visual encoder → tokens of a language model."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from projector.base import ProjectorSpec
    from projector.build import build_projector
    from projector.errors import ProjectorError
    from projector.standardize import Standardize

#: What is imported only when it is asked for: name → module.
_HOME = {
    "ProjectorSpec": "projector.base",
    "build_projector": "projector.build",
    "Standardize": "projector.standardize",
    "ProjectorError": "projector.errors",
}
__all__ = [
    "ProjectorError",
    "ProjectorSpec",
    "Standardize",
    "build_projector",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
