"""The verb ``compare``: one language model behind several visual encoders, as in the paper's table 5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from encoder.features.extract import ExtractConfig, FrameOrder, extract
from encoder.processes.group import Processes, join
from gym_qa.benchmark.build import BuildQAConfig, build_qa
from gym_qa.datasets.cliplist import write_clip_list
from gym_qa.datasets.table import Clip
from gym_qa.minigym import MiniGymConfig, Renderer, make_minigym
from gym_qa.questions.questions import read_questions
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.evaluation.evaluate import EvaluateConfig, evaluate
from sefar_mllm.evaluation.question_set import QuestionSet
from sefar_mllm.experiments.compare_table import write_comparison
from sefar_mllm.experiments.curves import training_curves, training_run
from sefar_mllm.experiments.minigym import Size, budget, finetuning_values
from sefar_mllm.experiments.rounds import Task, in_rounds
from sefar_mllm.experiments.stages import Stages
from sefar_mllm.finetuning.config import FinetuneConfig
from sefar_mllm.finetuning.finetune import finetune
from sefar_mllm.settings.options import options_from

TEXT_ONLY = "language model alone"
FEATURE_OPTIONS = ("precision", "reader", "short_side", "batch", "workers", "device", "views")


@dataclass(frozen=True)
class CompareConfig:
    """Compare visual encoders under the same questions, frames, language model, steps and seeds.

    Each encoder's features are extracted, a language model is fine-tuned on them for every seed, and asked
    with all controls. Stopped at any moment and started again, it goes on from the last finished step; an
    encoder added later joins the finished ones.

    Attributes:
        encoders: visual encoders as ``extract-features`` names them, each with a name for the table if
            wanted: ``SeFAR=sefar:FOLDER``, ``efficientnet-lite0``, ``dinov2-s``, ``timm:NAME``,
            ``hf:NAME-OR-FOLDER``. All see eight frames; a video model named with ``?frames=native`` sees as
            many as it was made for, and may stand twice.
        output: folder of the comparison.
        train_questions: questions to fine-tune on; by default MiniGym's, rendered and built.
        questions: questions to answer, given together with train_questions and video_root.
        video_root: folder of the clips, ``<clip id>.mp4``.
        size: of MiniGym, and of the work done on it.
        data: folder of the rendered MiniGym; by default data/minigym/SIZE.
        renderer: how MiniGym's gymnasts look: body, or sticks, drawn in a third of the time.
        seeds: training seeds; accuracy is averaged over them.
        seed: the first of them, and that of MiniGym's videos and questions.
        finetune: settings of ``finetune`` by name, in place of those for MiniGym (or of the defaults, for
            questions of one's own).
        features: settings of ``extract-features`` by name: precision, reader, short_side, batch, workers,
            device, views.
        text_only: control, the language model fine-tuned and asked without video.
        no_video: control, each model asked without video.
        other_video: control, each model shown another clip's video.
        frame_orders: control, each model shown frames in shuffled and in reversed order.
        circular: control, every question in every rotation of its options.
    """

    encoders: list[str]
    output: Path = Path("runs/compare")
    train_questions: Path | None = None
    questions: Path | None = None
    video_root: Path | None = None
    size: Size = "mini"
    data: Path | None = None
    renderer: Renderer = "body"
    seeds: int = 3
    seed: int = 0
    finetune: dict[str, Any] = field(default_factory=dict)
    features: dict[str, Any] = field(default_factory=dict)
    text_only: bool = True
    no_video: bool = True
    other_video: bool = True
    frame_orders: bool = True
    circular: bool = True


@dataclass(frozen=True)
class Sources:
    """The questions and videos of a comparison.

    Attributes:
        train: questions to fine-tune on.
        val: questions to answer.
        videos: folder of their clips.
        name: what tables call the questions; none for the file's own name.
    """

    train: Path
    val: Path
    videos: Path
    name: str | None


def compare(config: CompareConfig) -> None:
    """Run every step, then write and print the table.

    Processes that were launched together share the clips; each then fine-tunes and asks models of its own.

    Raises:
        SefarMLLMError: for settings that contradict one another, or a folder of another comparison.
        EncoderError: for an encoder or video at fault, or processes that cannot share the work.
    """
    named_encoders(config.encoders)
    check(config)
    processes = join("compare", config.features.get("device"))
    # Encoders and seeds are not among the options: more of them may join a finished comparison.
    kept = {key: value for key, value in asdict(config).items() if key not in ("encoders", "output", "seeds")}
    stages = Stages(config.output, kept, processes)
    compare_on(config, prepare(config, stages), stages)


def compare_on(config: CompareConfig, sources: Sources, stages: Stages) -> None:
    """`compare` on questions and videos that are there."""
    encoders, processes = named_encoders(config.encoders), stages.processes
    for name, spec in encoders.items():
        # Always called: it goes on by itself, and refuses features of an encoder that has changed since.
        features(config, sources, name, spec, processes)
    answering = [*encoders, *([TEXT_ONLY] if config.text_only else [])]
    seeds = range(config.seed, config.seed + config.seeds)
    tasks = [
        Task(name, seed, finetuning(config, sources, name, seed), evaluation(config, sources, name, seed))
        for seed in seeds
        for name in answering
    ]
    if processes.world > 1:
        in_rounds(tasks, stages)
    else:
        for task in tasks:
            stages.do(task.teaching, partial(finetune, task.fine))
            stages.do(task.answering, partial(evaluate, task.asking))
    asked = QuestionSet.open(sources.val, name=sources.name)
    runs = {name: [answers(config, name, seed) for seed in seeds] for name in answering}
    settings = {**asdict(config), "encoders": encoders}
    trained = {name: run for name, spec in encoders.items() if (run := training_run(spec))}
    curves = training_curves(trained, {name: model(config, name, config.seed) for name in answering})
    processes.once(
        lambda: write_comparison(
            config.output, asked, runs, TEXT_ONLY, settings, stages.seconds, sources.videos, curves
        )
    )


def check(config: CompareConfig) -> None:
    """Refuse settings that contradict one another, before anything is written."""
    given = [config.train_questions, config.questions, config.video_root]
    if config.seeds < 1 or (any(given) and not all(given)):
        raise SefarMLLMError(
            "compare needs seeds >= 1, and train_questions, questions and video_root together or none of them"
        )
    if unknown := sorted(config.features.keys() - set(FEATURE_OPTIONS)):
        raise SefarMLLMError(f"features: no setting {unknown[0]!r}; there are {', '.join(FEATURE_OPTIONS)}")
    finetuning(config, Sources(Path("-"), Path("-"), Path("-"), None), TEXT_ONLY, config.seed)


def named_encoders(specs: Sequence[str]) -> dict[str, str]:
    """Name in the table → the encoder; without a name an encoder is called what it is.

    Raises:
        SefarMLLMError: for no encoders, or two of one name.
    """
    found: dict[str, str] = {}
    for text in specs:
        # An option of the encoder (timm:x?grid=2) has an equals sign too, but behind a question mark.
        name, equals, spec = text.partition("=")
        named = bool(equals) and "?" not in name and ":" not in name
        name, spec = (name.strip(), spec) if named else (text, text)
        if name in found or name == TEXT_ONLY:
            raise SefarMLLMError(f"encoders: {name!r} stands twice; give them names, as in 'B=timm:NAME'")
        found[name] = spec
    if not found:
        raise SefarMLLMError("encoders: expected at least one, such as efficientnet-lite0")
    return found


def prepare(config: CompareConfig, stages: Stages) -> Sources:
    """The questions and videos: those given, else MiniGym's."""
    if config.questions and config.train_questions and config.video_root:
        return Sources(config.train_questions, config.questions, config.video_root, None)
    data, qa = config.data or Path("data/minigym") / config.size, config.output / "qa"
    once = stages.processes.once
    rendered = MiniGymConfig(output=data, size=config.size, seed=config.seed, renderer=config.renderer)
    stages.do("render videos", lambda: once(lambda: make_minigym(rendered)))
    labelled = budget(config.size).labelled
    built = BuildQAConfig(output=qa, data=data, fraction=labelled, seed=config.seed)
    stages.do("build questions", lambda: once(lambda: build_qa(built)))
    return Sources(
        qa / "train_questions.jsonl",
        qa / "val_questions.jsonl",
        data / "videos",
        f"MiniGym {config.size} ({config.renderer}), hard",
    )


def slug(name: str) -> str:
    """A folder name for an encoder's name: other names, other folders, and never ``..``."""
    slugged = "".join(
        letter if letter.isalnum() or letter in ".-" else f"_{ord(letter):x}" for letter in name
    )
    return f"_2e{slugged[1:]}" if slugged.startswith(".") else slugged


def store(config: CompareConfig, name: str, order: FrameOrder = "filmed") -> Path:
    """Feature store of an encoder."""
    return config.output / "features" / (slug(name) if order == "filmed" else f"{slug(name)}+{order}")


def model(config: CompareConfig, name: str, seed: int) -> Path:
    """Checkpoint of a fine-tuned model."""
    return config.output / "mllm" / slug(name) / f"seed-{seed}"


def answers(config: CompareConfig, name: str, seed: int) -> Path:
    """Predictions of a fine-tuned model."""
    return config.output / "answers" / slug(name) / f"seed-{seed}"


def features(config: CompareConfig, sources: Sources, name: str, spec: str, processes: Processes) -> None:
    """Features of the asked clips, and for the controls of the questions' clips in other orders."""
    files = {"train": sources.train, "val": sources.val}
    lists = processes.once(lambda: [asked_clips(config, part, file) for part, file in files.items()])
    base = ExtractConfig(
        encoder=spec, clips=lists, output=store(config, name), video_root=sources.videos,
        **{"views": budget(config.size).views, "seed": config.seed, **config.features},
    )  # fmt: skip
    extract(base)
    for order in ORDERS if config.frame_orders else ():
        extract(replace(base, clips=lists[1:], output=store(config, name, order), views=1, frame_order=order))


ORDERS: tuple[FrameOrder, FrameOrder] = ("shuffled", "reversed")


def asked_clips(config: CompareConfig, part: str, questions: Path) -> Path:
    """A clip list of the clips that a question file asks about."""
    clips = dict.fromkeys(question.video for question in read_questions(questions))
    path = config.output / f"{part}_clips.csv"
    write_clip_list(path, [Clip(clip, "", -1) for clip in clips])
    return path


def finetuning(config: CompareConfig, sources: Sources, name: str, seed: int) -> FinetuneConfig:
    """The same for every encoder; only the features differ."""
    blind = name == TEXT_ONLY
    own = {
        "questions": str(sources.train),
        "output": str(model(config, name, seed)),
        "features": None if blind else str(store(config, name)),
        "seed": seed,
        **({"align_steps": 0, "video_dropout": 0.0} if blind else {}),
    }
    # Questions of one's own start from the defaults.
    base = finetuning_values(config.size) if config.questions is None else {}
    return options_from(FinetuneConfig, {**base, **config.finetune, **own}, "finetune")


def evaluation(config: CompareConfig, sources: Sources, name: str, seed: int) -> EvaluateConfig:
    """Every question, with the controls that are asked for."""
    blind = name == TEXT_ONLY
    orders = config.frame_orders and not blind
    return EvaluateConfig(
        checkpoint=model(config, name, seed),
        questions=sources.val,
        output=answers(config, name, seed),
        features=None if blind else store(config, name),
        pmi=not blind,
        no_video=config.no_video and not blind,
        other_video=config.other_video and not blind,
        circular=config.circular and not blind,
        shuffled=store(config, name, "shuffled") if orders else None,
        reversed=store(config, name, "reversed") if orders else None,
        allow_repeats=bool(config.finetune.get("allow_repeats", False)),
        video_root=sources.videos,
        name=name,
        seed=seed,
    )
