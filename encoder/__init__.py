"""Video → features: clips, temporal elements, SeFAR and the encoders it is compared with."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encoder.errors import EncoderError
    from encoder.features.store import FeatureStore
    from encoder.model.sefar import SefarEncoder
    from encoder.training.config import TrainConfig
    from encoder.training.train import train
    from encoder.video.clips import Clip
    from encoder.video.elements import TemporalElements
    from encoder.video.reader import read_clip
    from encoder.visual.base import VisualEncoder
    from encoder.visual.factory import open_encoder

#: What is imported only when it is asked for: name → module.
_HOME = {
    "SefarEncoder": "encoder.model.sefar",
    "VisualEncoder": "encoder.visual.base",
    "open_encoder": "encoder.visual.factory",
    "FeatureStore": "encoder.features.store",
    "Clip": "encoder.video.clips",
    "TemporalElements": "encoder.video.elements",
    "read_clip": "encoder.video.reader",
    "TrainConfig": "encoder.training.config",
    "train": "encoder.training.train",
    "EncoderError": "encoder.errors",
}
__all__ = [
    "Clip",
    "EncoderError",
    "FeatureStore",
    "SefarEncoder",
    "TemporalElements",
    "TrainConfig",
    "VisualEncoder",
    "open_encoder",
    "read_clip",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
