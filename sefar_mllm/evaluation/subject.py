"""Who is evaluated: a fine-tuned checkpoint, a whole multimodal model, or a model behind a server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from encoder.features.store import FeatureStore, ordered_fingerprint
from encoder.processes.group import Processes
from encoder.video.clips import Clip, read_clips
from gym_qa.questions.questions import Question
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.evaluation.config import EvaluateConfig
from sefar_mllm.inference.clip_finder import find_clips
from sefar_mllm.inference.endpoint import Endpoint
from sefar_mllm.inference.footage import Footage, Showing
from sefar_mllm.inference.looking import EndpointRespondent, WholeRespondent
from sefar_mllm.inference.multimodal import WholeModel
from sefar_mllm.inference.multimodal_answers import Answerer
from sefar_mllm.inference.respondent import Predictor, Respondent
from sefar_mllm.inference.score_rules import SCORE_RULES, deciding_rule
from sefar_mllm.model.checkpoint import check_encoder
from sefar_mllm.model.features import check_clips
from sefar_mllm.model.language_model import resolve_dtype
from sefar_mllm.model.mllm import SefarMLLM


@dataclass(frozen=True)
class Subject:
    """Who is evaluated, and what it can be shown.

    Attributes:
        respondent: who answers.
        stores: what is shown of the clips, by what a control needs: ``filmed``, ``shuffled`` …
        name: what tables call it.
        encoder: its visual encoder.
        language_model: its language model.
        score: what decides: ``generated``, or a rule of `SCORE_RULES`.
        finish: called by the first process when all is answered.
    """

    respondent: Predictor
    stores: Mapping[str, Any]
    name: str
    encoder: str
    language_model: str
    score: str
    finish: Callable[[], None] = lambda: None


def open_subject(config: EvaluateConfig, questions: Sequence[Question], processes: Processes) -> Subject:
    """Open the model that the settings name.

    Raises:
        SefarMLLMError: when they name none or two, or it does not fit the questions or what it is shown.
        EncoderError: when a clip list or its videos are missing.
    """
    if (config.checkpoint is None) == (config.model is None):
        raise SefarMLLMError("name either a checkpoint or a model (hf:NAME, openai:NAME)")
    if config.model is None:
        return open_checkpoint(config, questions, processes)
    kind, _, name = config.model.partition(":")
    if kind not in ("hf", "openai") or not name:
        raise SefarMLLMError(f"model {config.model!r}: expected hf:NAME-OR-FOLDER or openai:NAME")
    given = [key for key in ("features", "shuffled", "reversed") if getattr(config, key) is not None]
    if given:
        raise SefarMLLMError(
            f"{given[0]}: a model that looks at videos itself takes no stored features; leave it out "
            "(its controls are named: controls: [shuffled, reversed])"
        )
    if config.score not in ("auto", "generated"):
        raise SefarMLLMError(
            f"score {config.score!r}: the reply of a whole model decides, read strictly; likelihoods stand "
            "beside it (accuracy_by_score); leave it out"
        )
    footage = Footage(clips_of(config, questions), config.frames, config.short_side, seed=config.seed)
    stores = {showing: footage.shown_as(showing) for showing in get_args(Showing)}
    shown = config.name or name.rstrip("/").rpartition("/")[2]
    if kind == "openai":
        if processes.world > 1:
            raise SefarMLLMError("model openai: runs as one process; raise endpoint.concurrency instead")
        server = EndpointRespondent(
            Endpoint(name, config.base_url, config.endpoint), config.output / "replies.jsonl"
        )
        usage = config.output / "usage.json"
        return Subject(server, stores, shown, "its own", name, "generated", lambda: server.write_usage(usage))
    dtype = resolve_dtype(config.precision, processes.device)
    whole = WholeModel(name, config.whole, dtype, processes.device)
    respondent = WholeRespondent(Answerer(whole), processes)
    return Subject(respondent, stores, shown, "its own", name, "generated")


def clips_of(config: EvaluateConfig, questions: Sequence[Question]) -> dict[str, Clip]:
    """The clip of each question, from clip lists or by the names of videos.

    Raises:
        SefarMLLMError: for questions without a clip.
    """
    names = {question.video for question in questions}
    if config.clips:
        clips = {clip.id: clip for path in config.clips for clip in read_clips(path, config.video_root)}
        place = ", ".join(map(str, config.clips))
    elif config.video_root is None or not config.video_root.is_dir():
        raise SefarMLLMError(f"video_root {config.video_root}: expected the folder of the videos to look at")
    else:
        clips, place = find_clips(config.video_root, names), str(config.video_root)
    if missing := sorted(names - clips.keys()):
        raise SefarMLLMError(
            f"{place}: no clip of {len(missing)} that {config.questions} asks about "
            f"({', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}); expected a video of each one's "
            "name, or its line in a clip list"
        )
    return clips


def open_checkpoint(config: EvaluateConfig, questions: Sequence[Question], processes: Processes) -> Subject:
    """A checkpoint that fine-tuning wrote, with its feature stores."""
    assert config.checkpoint is not None
    model = SefarMLLM.from_pretrained(
        config.checkpoint, resolve_dtype(config.precision, processes.device), processes.device
    )
    respondent = replace(build_respondent(config, model), processes=processes)
    stores, encoder = open_stores(config, model, questions), model.settings.encoder
    return Subject(
        respondent,
        stores,
        config.name or (encoder.name if encoder else "language model alone"),
        encoder.name if encoder else "none",
        model.settings.language_model,
        "generated" if respondent.reply_decides else respondent.score,
    )


def build_respondent(config: EvaluateConfig, model: SefarMLLM) -> Respondent:
    """The model and how its answers are read. Raises SefarMLLMError for a score that it cannot give."""
    generated = config.score == "generated"
    with_video = config.features is not None and model.projector is not None
    score = deciding_rule(model.settings.prompt, with_video, "auto" if generated else config.score)
    if SCORE_RULES[score].needs_blind and not config.pmi:
        raise SefarMLLMError(f"score {score} needs pmi: true")
    return Respondent(model, score, generated or config.generate, generated, config.pmi, config.batch_size)


def open_stores(
    config: EvaluateConfig, model: SefarMLLM, questions: Sequence[Question]
) -> dict[str, FeatureStore]:
    """The feature stores by the order of their frames, each checked against the model.

    Raises:
        SefarMLLMError: for features of another encoder or order, or of other clips, or for none where the
            model needs them.
    """
    named = {"filmed": config.features, "shuffled": config.shuffled, "reversed": config.reversed}
    if model.projector is None:
        return {}
    if config.features is None:
        raise SefarMLLMError(f"{config.checkpoint}: was trained with video; name its --features")
    stores = {}
    for order, path in named.items():
        if path is None:
            continue
        stores[order] = FeatureStore.open(path)
        check_clips(questions, stores[order], str(path))
        encoder = model.settings.encoder
        if encoder is not None:
            wanted = replace(encoder, fingerprint=ordered_fingerprint(encoder.fingerprint, order))
            check_encoder(replace(model.settings, encoder=wanted), stores[order].fingerprint, str(path))
    return stores
