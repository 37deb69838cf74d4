"""A whole multimodal model of Transformers with its processor: what it is shown, and that it sees that.

We decode. The frames that were chosen reach the model, all of them, in their order and with their true times;
what a processor would choose by itself is turned off. Which processors keep to that is not written down
anywhere: each is shown made-up clips and refused where it drops a frame, and every pass is refused in which
two of its visual tokens stand at one position (as in Qwen2.5-VL, which counts two positions a second).
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import AutoModelForMultimodalLM, AutoProcessor, PreTrainedModel, ProcessorMixin

from encoder.video.video_facts import Frames
from gym_qa.questions.prompt import prompt as question_prompt
from gym_qa.questions.questions import Question
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.inference.footage import Shot
from sefar_mllm.inference.processor_inputs import Inputs, metadata, same
from sefar_mllm.model.frame import ANSWER_MARK
from sefar_mllm.model.suitable import reason
from sefar_mllm.model.text_ids import TextIds

PROBE = (64, 96)  # height and width of made-up frames, in pixels
VISUAL_IDS = ("image_token_id", "video_token_id", "image_token_index", "video_token_index")


@dataclass(frozen=True)
class WholeModelConfig:
    """How a whole multimodal model of Transformers (``--model hf:NAME``) is asked.

    Args:
        show: the frames as one video, as single images, or what the processor can do: video, if it can.
        time_scale: times are told to the model so many times as long, where frames come faster than it can
            tell them apart; 1 for the truth.
        new_tokens: longest reply.
        likelihood: also compute the likelihood of the options' letters and texts.
        template: variables of the chat template, such as {enable_thinking: false}.
        processor: settings of the processor, such as {max_pixels: 200704}.
    """

    show: Literal["auto", "video", "images"] = "auto"
    time_scale: float = 1.0
    new_tokens: int = 48
    likelihood: bool = True
    template: dict[str, Any] = field(default_factory=dict)
    processor: dict[str, Any] = field(default_factory=dict)


class WholeModel:
    """A multimodal model that is shown frames itself.

    Args:
        name: a folder, or a name on the Hub.
        config: how it is asked.
        dtype: of its weights and products.
        device: where it runs.

    Attributes:
        visual: places of the visual tokens in the prompt that was made last, ``(1, S)``.

    Raises:
        SefarMLLMError: when there is no such model, or it cannot be asked about videos.
    """

    def __init__(
        self,
        name: str,
        config: WholeModelConfig | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.name, self.config = name, config or WholeModelConfig()
        if not 0 < self.config.time_scale < float("inf"):
            raise SefarMLLMError(f"time_scale: expected a number above 0, got {self.config.time_scale:g}")
        try:
            self.processor: Any = AutoProcessor.from_pretrained(name)
            self.model: PreTrainedModel = AutoModelForMultimodalLM.from_pretrained(name, dtype=dtype)
        except (OSError, ValueError, ImportError, KeyError, AttributeError) as error:
            raise SefarMLLMError(
                f"model 'hf:{name}': {reason(error)}; expected a multimodal model with a processor, as a "
                "folder or by its name on the Hub"
            ) from error
        self.kind = type(self.model).__name__
        if not isinstance(self.processor, ProcessorMixin) or not getattr(
            self.processor, "chat_template", None
        ):
            raise SefarMLLMError(
                f"model 'hf:{name}': has no processor with a chat template; put the template's text into its "
                "folder as chat_template.jinja"
            )
        if self.model.config.is_encoder_decoder:
            raise SefarMLLMError(
                f"model 'hf:{name}': {self.kind} is an encoder-decoder, which is not supported"
            )
        self.model = self.model.to(device).eval()  # type: ignore[arg-type]
        self.tokenizer = self.processor.tokenizer
        self.as_video = self._as_video()
        self.text = TextIds(self.tokenizer)
        self.lead, self.end = self._answer_frame()
        found = [
            getattr(part, key, None) for part in (self.model.config, self.processor) for key in VISUAL_IDS
        ]
        self.visual_ids = torch.tensor(sorted({number for number in found if isinstance(number, int)}))
        self.visual: Tensor | None = None
        self._placed = False
        self._delivered: dict[int, bool] = {}
        decoder: nn.Module = self.model.get_decoder()
        decoder.register_forward_pre_hook(self._see_positions, with_kwargs=True)

    def inputs(self, question: Question, shot: Shot | None) -> Inputs:
        """What the model takes for one question about a clip, or without a clip.

        Raises:
            SefarMLLMError: when the frames would not reach the model as they are.
        """
        if shot is None:
            return self._process(question, None, ())
        told = self._told_times(shot)
        return self._process(question, shot.frames, told)

    def answer_ids(self, answer: str, ended: bool) -> list[int]:
        """Ids of an answer behind the prompt; ``ended`` with the end of the turn."""
        return self.text.literal(self.lead + answer) + ([self.end] if ended else [])

    def fresh(self) -> None:
        """Forget what the last prompt left in the model: M-RoPE's offset of positions behind a video."""
        self._placed = False
        for part in self.model.modules():
            if getattr(part, "rope_deltas", None) is not None:
                part.rope_deltas = None  # type: ignore[assignment]

    def check_placed(self) -> None:
        """Refuse a pass over a video in which nobody saw where its tokens stood."""
        if self.visual is not None and not self._placed:
            raise SefarMLLMError(
                f"{self.kind}: the positions of its visual tokens cannot be seen; it is not supported"
            )

    def _process(self, question: Question, frames: Frames | None, times: Sequence[float]) -> Inputs:
        count = 0 if frames is None else len(frames)
        parts = [{"type": "video"}] if self.as_video and count else [{"type": "image"}] * count
        said = question_prompt(question.question, question.options)
        content = [*parts, {"type": "text", "text": said}]
        text = self._render([{"role": "user", "content": content}])
        given: dict[str, Any] = dict(self.config.processor)
        if frames is not None and self.as_video:
            given |= {
                "videos": [[frames]],
                "do_sample_frames": False,
                "video_metadata": [[metadata(frames, times)]],
            }
        elif frames is not None:
            given["images"] = [[Image.fromarray(frame) for frame in frames]]
        bos = self.tokenizer.bos_token
        if bos is not None and text.startswith(bos):
            given["add_special_tokens"] = False
        taken = inspect.signature(self.processor.__call__).parameters
        if not any(one.kind is one.VAR_KEYWORD for one in taken.values()):
            # It knows of no sampling and no times (Video-LLaVA's up to Transformers 5.6).
            given = {name: value for name, value in given.items() if name in taken}
        try:
            made = self.processor(text=[text], return_tensors="pt", **given)
        except Exception as error:
            raise SefarMLLMError(
                f"{type(self.processor).__name__} refuses "
                f"{count} frames of {frames.shape[1:3] if frames is not None else ''}: {reason(error)}"
            ) from error
        kept = {name: torch.as_tensor(value) for name, value in made.items() if name != "video_metadata"}
        device, dtype = self.model.device, self.model.dtype
        # Only pixels in the model's dtype: times in bfloat16 would not be true.
        made = {
            name: value.to(device, dtype if "pixel" in name and value.is_floating_point() else None)
            for name, value in kept.items()
        }
        visual = torch.isin(made["input_ids"], self.visual_ids.to(device))
        if count and not bool(visual.any()):
            raise SefarMLLMError(
                f"{self.kind}: no token of its prompt stands for the frames; its chat template leaves out "
                f"{'video' if self.as_video else 'images'}"
            )
        self.visual = visual if count else None
        return made

    def _told_times(self, shot: Shot) -> tuple[float, ...]:
        """When the model is told that each frame is shown; checks the processor once a number of frames."""
        count = len(shot.frames)
        if count not in self._delivered:
            self._delivered[count] = self._check_delivery(count)
        if not shot.seconds and self._delivered[count]:
            raise SefarMLLMError(
                f"{shot.clip}: {self.kind} is told when each frame is shown, and that is not known of this "
                "clip; give 'rate' for a folder of pictures, or whole.show: images"
            )
        scale = self.config.time_scale
        return tuple(second * scale for second in shot.seconds or range(count))

    def _check_delivery(self, count: int) -> bool:
        """Refuse a processor that drops frames: each must change what the model is given.

        Returns:
            Whether the model is told the frames' times.
        """
        draw = np.random.default_rng(0)
        frames = draw.integers(0, 256, (count, *PROBE, 3), dtype=np.uint8)
        asked = Question("", "", "What is shown?", ("A", "B"), 0)
        times = [float(place) for place in range(count)]
        before = self._process(asked, frames, times)
        unseen = []
        for place in range(count):
            changed = frames.copy()
            changed[place] = 255 - changed[place]
            if same(before, self._process(asked, changed, times), pixels=True):
                unseen.append(place + 1)
        if unseen:
            raise SefarMLLMError(
                f"{type(self.processor).__name__}: of {count} frames {len(unseen)} do not reach the model "
                f"(number {', '.join(map(str, unseen[:5]))}); show it fewer frames, or whole.show: images"
            )
        return not same(before, self._process(asked, frames, [3 * time + 1 for time in times]), pixels=False)

    def _see_positions(self, _: nn.Module, args: tuple[Any, ...], given: dict[str, Any]) -> None:
        """Before the language model's pass: no two visual tokens may have the same position."""
        if self.visual is None:
            return
        positions, embeddings = given.get("position_ids"), given.get("inputs_embeds")
        size = self.visual.shape[1]
        if embeddings is not None and embeddings.shape[1] < size:
            return  # behind the prompt
        self._placed = True
        if positions is None or positions.dim() < 3:
            return  # one after the other
        # M-RoPE's time, row and column; before them some families have the place in the sequence.
        places = positions[-3:, 0, :size][:, self.visual[0].to(positions.device)]
        different = places.unique(dim=1).shape[1]
        if different < places.shape[1]:
            times = places[0].unique().numel()
            raise SefarMLLMError(
                f"{self.kind}: frames share positions in time, of which there are {times}: they come faster "
                "than it counts. Tell it a slower video (whole.time_scale: 8, kept in metrics.json), show it "
                "single images (whole.show: images), or fewer frames"
            )

    def _as_video(self) -> bool:
        can = getattr(self.processor, "video_processor", None) is not None
        if self.config.show == "video" and not can:
            raise SefarMLLMError(f"show: {self.kind} takes images alone; leave it out or set it to images")
        return can and self.config.show != "images"

    def _answer_frame(self) -> tuple[str, int]:
        """The space that an answer begins with, and the token that ends the turn."""
        user = {"role": "user", "content": [{"type": "text", "text": "?"}]}
        told = {"role": "assistant", "content": [{"type": "text", "text": ANSWER_MARK}]}
        settings = self.model.generation_config
        known = settings.eos_token_id if settings is not None else None
        ends = known if isinstance(known, list) else [known]
        try:
            whole = self._render([user, told], False).removeprefix(self._render([user]))
        except SefarMLLMError:
            whole = ""
        lead, mark, rest = whole.partition(ANSWER_MARK)
        behind = self.tokenizer(rest.lstrip(), add_special_tokens=False)["input_ids"][:1] if mark else []
        for end in (*behind, self.tokenizer.eos_token_id, *ends):
            if end is not None and (end in ends or ends == [None]):
                return lead if mark and lead.isspace() else "", int(end)
        raise SefarMLLMError(
            f"{self.kind}: neither its settings nor its tokenizer name a token that ends a reply"
        )

    def _render(self, messages: list[dict[str, Any]], ask: bool = True) -> str:
        try:
            return str(
                self.processor.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=ask, **self.config.template
                )
            )
        except Exception as error:
            raise SefarMLLMError(
                f"{self.kind}: its chat template refuses the prompt: {reason(error)}"
            ) from error
