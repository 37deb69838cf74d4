"""Vision models of Transformers as visual encoders: image models frame by frame, video models whole.

Every model sees frames through its own processor (resizing, crop, normalisation), which has no randomness.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoVideoProcessor, __version__
from transformers.utils import logging
from transformers.video_processing_utils import BaseVideoProcessor

from encoder.errors import EncoderError, first_line
from encoder.video.elements import TemporalElements
from encoder.visual.base import GRID, EncoderSpec, fingerprint, pool_grid
from encoder.visual.video_models import (
    VIDEO_MODELS,
    WEIGHT_NAMES,
    ZEROS,
    EvenFrames,
    chosen_frames,
    tower_config,
    tubelet,
)

_FRAMES_AT_ONCE = 32
_INPUTS = {"pixel_values", "pixel_values_videos", "pixel_values_images"}  # the last is Video-LLaVA's

# What of a processor changes pixels; its other entries differ between versions of Transformers.
_RESIZING = ("do_resize", "size", "resample", "do_center_crop", "crop_size", "do_pad", "pad_size")
_SCALING = ("do_rescale", "rescale_factor", "offset", "do_normalize", "image_mean", "image_std")
_PIXELS = (*_RESIZING, *_SCALING, "do_flip_channel_order")


class ProcessorTransform:
    """A model's own preprocessing by its processor.

    Args:
        spec: The encoder's, for messages.
        processor: An image processor of Transformers, or a video processor, which is kept from choosing
            frames itself.
    """

    def __init__(self, spec: str, processor: Any) -> None:
        self.spec, self.processor = spec, processor

    def __call__(self, frames: Tensor) -> Tensor:
        """Frames ``(B, T, H, W, C)`` uint8 → ``(B, T, C, S, S)``."""
        b, t = frames.shape[:2]
        pictures = frames.permute(0, 1, 4, 2, 3)
        options: dict[str, Any] = {"return_tensors": "pt", "input_data_format": "channels_first"}
        if isinstance(self.processor, BaseVideoProcessor):
            given = self.processor(list(pictures), do_sample_frames=False, **options)
        else:
            given = self.processor(list(pictures.flatten(0, 1)), **options)
        if extra := set(given) - _INPUTS:
            raise EncoderError(
                f"encoder {self.spec!r}: its processor also gives {min(extra)}, for images of varying size; "
                "choose a variant of a fixed size"
            )
        pixels = given[min(given)]
        return pixels.view(b, t, *pixels.shape[-3:]).to(frames.device)


class HFTokens:
    """See :func:`encoder.visual.factory.open_encoder`. Tokens of a frame, or of some frames in a video model.

    Attributes:
        dim: With ``grid`` 1 the width of the model's pooled vector of a frame (video models: the mean of the
            patches of a time step); else ``grid²`` times the width of a patch.
        num_tokens: Frames; for video models time steps, the frames given to the network / its tubelet.
        given: Frames of a clip that the network is given; none for image models.
    """

    def __init__(self, spec: EncoderSpec, device: torch.device, dtype: torch.dtype) -> None:
        spec.allow("grid", "frames")
        self.spec = spec.text
        self.network, self.processor, self.pooled = _load(spec)
        config: Any = self.network.config
        self.video = VIDEO_MODELS.get(config.model_type)
        self.places = self.video is None or self.video.places
        self.grid = spec.number("grid", GRID if self.places else 1)
        if self.grid > 1 and not self.places:
            raise EncoderError(
                f"encoder {spec.text!r}: the model has one token a frame; it takes grid=1 alone"
            )
        frames, self.given = chosen_frames(spec, config, self.processor)
        sampling = EvenFrames if self.video else TemporalElements
        # Four frames of context let short clips through, as with the other encoders.
        self.sampling: TemporalElements = sampling((frames - 4, 4) if frames > 4 else (frames,))
        values = self.processor.to_dict()
        facts = {
            "kind": "hf",
            "model": config.model_type,
            "processor": type(self.processor).__name__,
            "pixels": {name: values[name] for name in _PIXELS if name in values},
            "grid": self.grid,
            "elements": str(self.sampling),
            **({"short clips": "in order of time"} if self.video else {}),
        }
        self.fingerprint = fingerprint(self.network, facts)
        self.transform, self.dtype = ProcessorTransform(self.spec, self.processor), dtype
        self.network.to(device, dtype)
        self._try(device)

    def _try(self, device: torch.device) -> None:
        """Runs one noisy clip twice: learns the shape, and refuses models that draw at random."""
        noise = torch.randint(0, 256, (1, self.sampling.n_frames, 48, 64, 3), dtype=torch.uint8)
        try:
            x = self.transform(noise).to(device)
            self._check_size(x)
            tokens, again = self.encode(x), self.encode(x)
        except EncoderError:
            raise
        except (RuntimeError, TypeError, ValueError, AttributeError, KeyError, AssertionError) as error:
            raise EncoderError(
                f"encoder {self.spec!r}: does not run on frames with a grid of {self.grid} "
                f"({type(error).__name__}: {first_line(error)}); it must be a vision model that needs "
                "pictures alone"
            ) from None
        if not torch.equal(tokens, again):
            raise EncoderError(f"encoder {self.spec!r}: gives other features of the same frames each time")
        self.num_tokens, self.dim = tokens.shape[1:]

    def _check_size(self, x: Tensor) -> None:
        """Refuses a size other than the configuration's where positions would go wrong unnoticed."""
        config: Any = self.network.config
        size = getattr(config, "image_size", None) or getattr(config, "crop_size", None)
        if size is None or self.video is None or not self.video.any_number:
            return
        expected = (size, size) if isinstance(size, int) else tuple(size)
        if x.shape[-2:] != expected:
            raise EncoderError(
                f"encoder {self.spec!r}: its processor makes frames of {x.shape[-2]} × {x.shape[-1]} px, its "
                f"configuration says {expected[0]} × {expected[1]}; mend its preprocessor file"
            )

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Input ``(B, T, C, S, S)`` → tokens ``(B, num_tokens, dim)``, float32."""
        x = x.to(self.dtype)
        if self.given is None:
            parts = [self._images(part) for part in x.flatten(0, 1).split(_FRAMES_AT_ONCE)]
            return torch.cat(parts).float().unflatten(0, x.shape[:2])
        x = x.repeat_interleave(self.given // x.shape[1], dim=1)
        clips = max(1, _FRAMES_AT_ONCE // self.given)
        return torch.cat([self._videos(part) for part in x.split(clips)]).float()

    def _images(self, x: Tensor) -> Tensor:
        """``(N, C, S, S)`` → ``(N, dim)``."""
        output = self.network(pixel_values=x)
        if self.grid == 1 and self.pooled and getattr(output, "pooler_output", None) is not None:
            return output.pooler_output.flatten(1)
        states = output.last_hidden_state
        if states.dim() == 4:  # a convolutional network's map, (N, D, h, w)
            return pool_grid(states.permute(0, 2, 3, 1), self.grid)
        height, width = self._patches(x)
        before = states.shape[1] - height * width
        if before < 0:
            raise EncoderError(
                f"encoder {self.spec!r}: leaves out patches at random, as masked autoencoders do in "
                "training; take its timm version, such as 'timm:vit_base_patch16_224.mae'"
            )
        if self.grid == 1 and before > 0:  # the class token
            return states[:, 0]
        return pool_grid(states[:, before:].unflatten(1, (height, width)), self.grid)

    def _videos(self, x: Tensor) -> Tensor:
        """``(B, T, C, S, S)`` → ``(B, steps, dim)``."""
        network: Any = self.network
        assert self.video is not None
        states = network(**{network.main_input_name: x}, **self.video.arguments).last_hidden_state
        height, width = self._patches(x) if self.places else (1, 1)
        steps = x.shape[1] // tubelet(network.config)
        states = states[:, states.shape[1] - steps * height * width :]  # without a class token
        if self.video.order == "time":
            maps = states.unflatten(1, (steps, height, width))
        else:
            maps = states.unflatten(1, (height, width, steps)).permute(0, 3, 1, 2, 4)
        return pool_grid(maps.flatten(0, 1), self.grid).unflatten(0, (len(x), steps))

    def _patches(self, x: Tensor) -> tuple[int, int]:
        """Rows and columns of patches. Raises EncoderError for a model that does not say."""
        config: Any = self.network.config
        size = getattr(config, "patch_size", None) or getattr(config, "tubelet_size", None)
        if size is None:
            raise EncoderError(f"encoder {self.spec!r}: does not say how large its patches are; use grid=1")
        rows, columns = (size, size) if isinstance(size, int) else tuple(size)[-2:]
        return x.shape[-2] // rows, x.shape[-1] // columns


def _load(spec: EncoderSpec) -> tuple[nn.Module, Any, bool]:
    """The frozen vision model in float32, its processor, and whether the checkpoint has its pooling layer."""
    try:
        with _quiet():
            config = AutoConfig.from_pretrained(spec.name, trust_remote_code=False)
            network, report = AutoModel.from_pretrained(
                spec.name,
                config=tower_config(config),
                dtype=torch.float32,
                trust_remote_code=False,
                weights_only=True,
                output_loading_info=True,
                key_mapping=WEIGHT_NAMES.get(config.model_type),
            )
            video = network.main_input_name == "pixel_values_videos"
            processors = AutoVideoProcessor if video else AutoImageProcessor
            processor = processors.from_pretrained(spec.name, trust_remote_code=False)
    except Exception as error:  # Transformers lets through whatever the hub, the network or a file raised
        reason = first_line(error)
        newer = "VideoPrism came with Transformers 5.13; " if "videoprism" in reason else ""
        raise EncoderError(
            f"encoder {spec.text!r}: Transformers {__version__} could not load it ({reason}); {newer}name a "
            "folder with config.json, model.safetensors and preprocessor_config.json, or a model on the Hub "
            "that needs no code of its own: for EVA-CLIP 'timm:eva_giant_patch14_clip_224.merged2b', "
            "for LanguageBind's video tower 'hf:LanguageBind/Video-LLaVA-7B-hf', which holds it"
        ) from None
    absent = {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}
    zeros = ZEROS.get(network.config.model_type)
    for name in [name for name in absent if zeros and name.endswith(zeros)]:
        nn.init.zeros_(network.get_parameter(name))
        absent.remove(name)
    needed = sorted(name for name in absent if "pooler" not in name)
    if needed:
        raise EncoderError(
            f"encoder {spec.text!r}: the checkpoint lacks {len(needed)} tensors of {type(network).__name__}, "
            f"such as {needed[0]}; it holds another model's weights"
        )
    return network.eval().requires_grad_(False), processor, not absent


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's list of the weights that a vision tower leaves behind."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
