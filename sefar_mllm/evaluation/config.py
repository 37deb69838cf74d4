"""Settings of the verb ``evaluate``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sefar_mllm.inference.endpoint import EndpointConfig
from sefar_mllm.inference.multimodal import WholeModelConfig
from sefar_mllm.model.language_model import Precision


@dataclass(frozen=True)
class EvaluateConfig:
    """Answer the questions of a file with a fine-tuned model, by likelihood and if wanted by generation.

    Any other multimodal model can answer them too: its reply, read strictly, decides.

    Args:
        questions: question file.
        output: folder for predictions.jsonl (a line per question), metrics.json, results.json, report.html
            and report.md; the controls' answers go into its folder controls.
        checkpoint: folder that fine-tuning wrote.
        features: feature store of the questions' clips; not needed by a model trained without video.
        score: what decides: letter, text_sum, text_mean, text_pmi, generated; auto takes the answer format's
            own: letter for letter, text_sum for text and both, text_pmi where the prompt does not list the
            options. All likelihoods are written down; this one is the headline.
        generate: also let the model write its answer, read strictly; what cannot be read is wrong and shows
            as unparsed_rate. Implied by score generated.
        pmi: also compute text_pmi, which runs the prompts once more without video.
        no_video: control, the same model asked without video.
        other_video: control, the same model shown another clip's video, of none of the options' classes.
        circular: control, every question in every rotation of its options; right is who is right in all.
        shuffled: control, a feature store of the same clips extracted with --frame-order shuffled.
        reversed: control, a feature store of the same clips extracted with --frame-order reversed.
        controls: further controls by name.
        allow_repeats: also take questions that hold an option twice, as some official ones do; the copy that
            is not the answer counts as wrong.
        labelled: the labelled clips (list or question file) for the control "commonest class"; by default
            train.csv beside the questions.
        video_root: folder of the clips, to show frames of wrong answers in the report, and for a model that
            looks at videos itself.
        lmms_eval: also write the answers in lmms-eval's layout, into the folder lmms-eval.
        model: in place of a checkpoint a model that looks at videos itself: hf:NAME-OR-FOLDER of
            Transformers, or openai:NAME behind a server that speaks OpenAI's protocol.
        base_url: of that server, such as http://localhost:8000/v1; by default OpenAI's.
        clips: for such a model, clip lists of the videos; by default each clip's video is found by its name
            under video_root.
        frames: frames of a clip that such a model is shown, the middle ones of as many equal parts.
        short_side: short side in pixels that they are decoded to; by default that of the video.
        whole: how a model of Transformers is asked.
        endpoint: how a server is asked.
        name: what tables call the model; by default its encoder.
        batch_size: replies written at a time. Every question is scored by itself, whatever this is.
        precision: of weights and matrix products; auto is bf16 where the hardware multiplies in it.
        device: auto, or a torch device.
        seed: of the clips shown by other_video, and of the resampling.
    """

    questions: Path
    output: Path
    checkpoint: Path | None = None
    features: Path | None = None
    score: str = "auto"
    generate: bool = False
    pmi: bool = True
    no_video: bool = False
    other_video: bool = False
    circular: bool = False
    shuffled: Path | None = None
    reversed: Path | None = None
    controls: list[str] = field(default_factory=list)
    allow_repeats: bool = False
    labelled: Path | None = None
    video_root: Path | None = None
    lmms_eval: bool = False
    model: str | None = None
    base_url: str | None = None
    clips: list[Path] = field(default_factory=list)
    frames: int = 8
    short_side: int | None = None
    whole: WholeModelConfig = field(default_factory=WholeModelConfig)
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    name: str | None = None
    batch_size: int = 16
    precision: Precision = "auto"
    device: str = "auto"
    seed: int = 0
