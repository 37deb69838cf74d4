"""What the video models of Transformers need said of them that their configurations do not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from encoder.errors import EncoderError
from encoder.video.elements import TemporalElements
from encoder.visual.base import EncoderSpec


@dataclass(frozen=True)
class VideoModel:
    """How a kind of video model is asked.

    Attributes:
        native: Entry of the configuration that holds the number of frames it was made for; without one, its
            processor's ``num_frames``.
        any_number: Whether it takes other numbers of frames as they are (rotary or interpolated positions);
            else it is shown fewer by showing each several times.
        order: Whether its patch tokens come frame after frame or place after place.
        places: Whether it has tokens of places, or only one a frame.
        arguments: What its forward is given besides the frames.
    """

    native: str | None = "num_frames"
    any_number: bool = False
    order: Literal["time", "place"] = "time"
    places: bool = True
    arguments: Mapping[str, Any] = field(default_factory=dict)


# By the model_type of the configuration.
VIDEO_MODELS = {
    "videomae": VideoModel(),
    "vivit": VideoModel(),
    "timesformer": VideoModel(order="place"),
    # Its predictor, for masked training, would double the work and change nothing that is handed over.
    "vjepa2": VideoModel("frames_per_clip", any_number=True, arguments={"skip_predictor": True}),
    # The table of times is interpolated, as its authors' own code does for other numbers of frames.
    "videoprism_vision_model": VideoModel(any_number=True, arguments={"interpolate_pos_encoding": True}),
    "pe_video_encoder": VideoModel(None, any_number=True, places=False),
}

# Where the configuration of the vision tower lies within that of a whole model, by its model_type; by default
# in vision_config, if there is one. An empty path is the model itself: PE-Video's own vision_config is of the
# image model within it.
TOWERS = {
    "video_llava": "vision_config",
    "videoprism": "vision_config",
    "pe_video": "video_config",
    "pe_audio_video": "audio_video_config.video_config",
    "pe_video_encoder": "",
}

# Names of weights (regular expressions) and what they are in the tower. A Video-LLaVA holds LanguageBind's
# video tower. VideoMAE's checkpoints name the biases of queries and values in a way that Transformers has not
# known in all of its fifth version.
WEIGHT_NAMES = {
    "video_llava": {r"^(model\.)?video_tower\.(vision_model\.)?": ""},
    "videoprism": {r"^video_model\.vision_model\.": ""},
    "pe_video": {r"^video_encoder\.": ""},
    "videomae": {
        r"attention\.attention\.q_bias$": "attention.attention.query.bias",
        r"attention\.attention\.v_bias$": "attention.attention.value.bias",
    },
}

# Weights that checkpoints of a kind lack because they are none: VideoMAE's keys have no bias.
ZEROS = {"videomae": "attention.attention.key.bias"}


def tower_config(config: Any) -> Any:
    """The configuration of the vision tower within a model's."""
    path = TOWERS.get(config.model_type)
    if path is None:
        return getattr(config, "vision_config", config)
    for name in filter(None, path.split(".")):
        config = getattr(config, name)
    return config


def tubelet(config: Any) -> int:
    """Frames that make up a time step of a video model."""
    size = getattr(config, "tubelet_size", 1)
    return size if isinstance(size, int) else size[0]


def chosen_frames(spec: EncoderSpec, config: Any, processor: Any) -> tuple[int, int | None]:
    """How many frames of a clip an encoder looks at, and how many of them its network is given at once.

    Args:
        spec: The encoder's; its option ``frames`` is a number or ``native``, by default the others' eight.
        config: The configuration of the vision model.
        processor: Its processor.

    Returns:
        The frames, and for video models those given to the network, each perhaps several times.

    Raises:
        EncoderError: It cannot be asked with so many.
    """
    video = VIDEO_MODELS.get(config.model_type)
    native: Any = None
    if video:
        native = getattr(config if video.native else processor, video.native or "num_frames", None)
    if spec.options.get("frames") != "native":
        frames = spec.number("frames", TemporalElements().n_frames, "native")
    elif native:
        frames = native
    else:
        raise EncoderError(
            f"encoder {spec.text!r}: {config.model_type} says no number of frames that it was made for; give "
            "frames as a number"
        )
    if video is None:
        return frames, None
    if video.any_number and frames % tubelet(config):
        raise EncoderError(
            f"encoder {spec.text!r}: the model takes {tubelet(config)} frames together; frames must be a "
            "multiple of them"
        )
    if not video.any_number and native % frames:
        raise EncoderError(
            f"encoder {spec.text!r}: the model takes {native} frames; frames must divide them, as each is "
            "then shown several times, or be 'native'"
        )
    return frames, frames if video.any_number else native


class EvenFrames(TemporalElements):
    """The middles of equal stretches, in order of time even in a clip of fewer frames than are asked for.

    Elements that share frames would take some of them out of turn, which a video model sees as movement.
    """

    def _sample_once(self, n_frames: int, generator: torch.Generator | None, place: float) -> list[int]:
        count = self.n_frames
        if n_frames >= count:
            return super()._sample_once(n_frames, generator, place)
        places = [place] * count if generator is None else torch.rand(count, generator=generator).tolist()
        return [int((slot + within) * n_frames / count) for slot, within in enumerate(places)]
