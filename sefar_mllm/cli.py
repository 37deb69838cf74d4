"""The ``sefar-mllm`` command: a table of verbs, each a frozen dataclass of options and one function."""

from __future__ import annotations

import importlib
import io
import os
import select
import signal
import sys
from dataclasses import dataclass
from typing import Any, get_type_hints

from encoder.errors import EncoderError
from encoder.processes.launcher import launched
from gym_qa.errors import GymQAError
from projector.errors import ProjectorError
from sefar_mllm.console import shown
from sefar_mllm.errors import SefarMLLMError


@dataclass(frozen=True)
class Verb:
    """One verb: where its options (a frozen dataclass) and its function are; imported only when called.

    Attributes:
        shared: several processes of a launcher may run it together.
        words: the options' values are people's words, in which ``yes`` and ``1.0`` mean no more than that.
    """

    module: str
    config: str
    function: str
    summary: str
    positional: bool = False
    shared: bool = False
    words: bool = False


VERBS: dict[str, Verb] = {
    "demo": Verb(
        "sefar_mllm.experiments.demo", "DemoConfig", "run_demo", "the whole path on synthetic videos"
    ),
    "make-minigym": Verb("gym_qa.minigym", "MiniGymConfig", "make_minigym", "render the synthetic data set"),
    "build-qa": Verb(
        "gym_qa.benchmark.build", "BuildQAConfig", "build_qa", "annotations to label splits and questions"
    ),
    "audit-qa": Verb(
        "gym_qa.audit.verb", "AuditQAConfig", "audit_qa", "what questions give away without a video"
    ),
    "policy-table": Verb(
        "gym_qa.benchmark.policy_table", "PolicyTableConfig", "policy_table", "blind scores by policy"
    ),
    "export-qa": Verb(
        "gym_qa.exports.export", "ExportQAConfig", "export_qa", "questions in other tools' formats"
    ),
    "cut-clips": Verb("gym_qa.cutting.cut", "CutClipsConfig", "cut_clips", "full videos to trimmed clips"),
    "doctor": Verb(
        "sefar_mllm.doctor.doctor", "DoctorConfig", "doctor", "unusable clips; memory of fine-tuning"
    ),
    "cache-clips": Verb(
        "encoder.loading.cache_clips",
        "CacheClipsConfig",
        "cache_clips",
        "decode clips once for all trainings",
    ),
    "train-encoder": Verb(
        "encoder.training.train", "TrainConfig", "train", "train a video encoder from few labels", shared=True
    ),
    "extract-features": Verb(
        "encoder.features.extract",
        "ExtractConfig",
        "extract",
        "store a visual encoder's features",
        shared=True,
    ),
    "import-released": Verb(
        "encoder.model.released",
        "ImportReleasedConfig",
        "import_released",
        "a checkpoint of SeFAR's released code as an encoder",
        positional=True,
    ),
    "evaluate-encoder": Verb(
        "sefar_mllm.evaluation.evaluate_encoder",
        "EvaluateEncoderConfig",
        "evaluate_encoder",
        "measure a trained video encoder",
        shared=True,
    ),
    "study": Verb(
        "sefar_mllm.experiments.study",
        "StudyConfig",
        "study",
        "the paper's tables and figures",
        positional=True,
    ),
    "finetune": Verb(
        "sefar_mllm.finetuning.finetune",
        "FinetuneConfig",
        "finetune",
        "teach a language model to answer",
        shared=True,
    ),
    "evaluate": Verb(
        "sefar_mllm.evaluation.evaluate",
        "EvaluateConfig",
        "evaluate",
        "score answers to a question file",
        shared=True,
    ),
    "compare": Verb(
        "sefar_mllm.experiments.compare",
        "CompareConfig",
        "compare",
        "visual encoders in one table",
        shared=True,
    ),
    "score": Verb(
        "sefar_mllm.evaluation.score", "ScoreConfig", "score", "score answers made elsewhere", positional=True
    ),
    "core-qa": Verb(
        "sefar_mllm.evaluation.core", "CoreQAConfig", "core_qa", "a few questions that rank models as all do"
    ),
    "ask": Verb(
        "sefar_mllm.inference.ask",
        "AskConfig",
        "ask_verb",
        "ask about a video",
        positional=True,
        words=True,
        shared=True,
    ),
    "merge": Verb("sefar_mllm.model.merge", "MergeConfig", "merge", "put an adapter into its language model"),
    "push": Verb("sefar_mllm.model.hub", "PushConfig", "push", "put a checkpoint on the Hugging Face Hub"),
}

USER_ERRORS = (EncoderError, ProjectorError, GymQAError, SefarMLLMError)


def usage() -> str:
    """The list of verbs, one line each."""
    width = max(map(len, VERBS))
    lines = [f"  {name:<{width}}  {verb.summary}" for name, verb in VERBS.items()]
    return (
        "usage: sefar-mllm VERB [options]\n\nverbs:\n"
        + "\n".join(lines)
        + "\n\n'sefar-mllm VERB --help' lists a verb's options; --config FILE.yaml reads them from a file.\n"
    )


def load(path: str) -> Any:
    """The object that ``module:name`` names."""
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)


def spelled_out(args: list[str], options: type) -> list[str]:
    """Arguments as jsonargparse reads them: ``--available-only`` becomes ``--available_only=true``."""
    flags = {f"--{name}" for name, hint in get_type_hints(options).items() if hint is bool}
    spelled = []
    for place, arg in enumerate(args):
        if arg.startswith("--"):
            name, equals, value = arg.partition("=")
            arg = name.replace("-", "_").replace("__", "--", 1) + equals + value
            bare = place + 1 == len(args) or args[place + 1].startswith("--")
            if arg in flags and bare:
                arg += "=true"
        spelled.append(arg)
    return spelled


def main(argv: list[str] | None = None) -> int:
    """Run one verb.

    Returns:
        The exit status: 0; 2 after a message on standard error; 141, as the shell has it, where who reads the
        output (``| head``) went away.
    """
    # A character that the terminal lacks is no reason to stop.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            with shown():
                return run_verb(sys.argv[1:] if argv is None else argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not reader_gone():
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)  # for what Python still writes out at its end
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        return 128 + signal.SIGPIPE


def reader_gone() -> bool:
    """Whether nobody reads standard output or standard error any more."""
    pipes = select.poll()
    for stream in (sys.stdout, sys.stderr):
        pipes.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in pipes.poll(0))


def run_verb(args: list[str]) -> int:
    """`main` without its care for the streams."""
    if not args or args[0] in ("-h", "--help"):
        print(usage())
        return 0
    if args[0] == "--version":
        from importlib.metadata import version

        print(f"sefar-mllm {version('sefar-mllm')}")
        return 0
    if args[0] not in VERBS:
        print(f"error: there is no verb {args[0]!r}\n\n{usage()}", file=sys.stderr)
        return 2
    verb = VERBS[args[0]]
    if launched() > 1 and not verb.shared:
        told = f"{launched()} processes were launched, and {args[0]} runs as one: start it without a launcher"
        print(f"error: {told}", file=sys.stderr)
        return 2
    from jsonargparse import auto_cli

    from sefar_mllm.settings.as_written import AS_WRITTEN
    from sefar_mllm.settings.yaml_limits import check_size, limit_yaml

    limit_yaml()
    options = load(f"{verb.module}:{verb.config}")
    try:
        for place, arg in enumerate(args[1:], 2):
            if any("\ud800" <= char <= "\udfff" for char in arg):
                raise SefarMLLMError(f"argument {place}, {arg!a:.80}: not UTF-8; write it in that encoding")
            check_size(arg, f"argument {place}")
        config = auto_cli(
            options,
            args=spelled_out(args[1:], options),
            as_positional=verb.positional,
            prog=f"sefar-mllm {args[0]}",
            parser_mode=AS_WRITTEN if verb.words else "yaml",
        )
        load(f"{verb.module}:{verb.function}")(config)
    except USER_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
