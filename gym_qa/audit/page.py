"""An audit as one page of Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from gym_qa.audit.audit import Audit
from gym_qa.audit.guessers import GUESSERS

KINDS_SHOWN = 30


def page(report: Audit, name: str, form: str, left_out: Mapping[str, int]) -> str:
    """What a question file gives away, for a paper's appendix.

    Args:
        report: the audit.
        name: of the question file.
        form: that it was read in.
        left_out: why rows were left out → how many.
    """
    letters = ", ".join(f"{letter} {count}" for letter, count in report.letters.items())
    lines = [
        f"# What {name} gives away without a video",
        "",
        f"{report.n:,} multiple-choice questions (form: {form}). **{report.verdict}.**",
        "",
        *_table(report),
        "",
        f"Right letters: {letters}. The same text stands twice among the options of "
        f"{report.repeated_option:,} questions, in {report.answer_twice:,} of them as the right one.",
    ]
    if report.pairs:
        lines[-1] += f" {report.pairs:,} pairs of questions count only together."
    for reason, count in left_out.items():
        lines += ["", f"{count:,} rows were left out: {reason}."]
    if report.kinds:
        lines += ["", *_kinds(report)]
    lines += [
        "",
        "A guesser that prefers several options alike is credited with its chance among them. Intervals are "
        "Wilson's, 95 %, of independent questions. Guessers that learn from the other half are trained on "
        "one half of the questions and asked about the other, both ways round; questions about one video "
        "stay in one half. What a language model knows besides is measured by asking one without the video: "
        "`sefar-mllm evaluate --no_video true`.",
    ]
    return "\n".join(lines) + "\n"


def _table(report: Audit) -> list[str]:
    pairs = report.pairs > 0
    lines = [
        "| guesser | picks | accuracy, % | 95 % interval |" + (" both of a pair, % |" if pairs else ""),
        "|---|---|---|---|" + ("---|" if pairs else ""),
    ]
    for score in report.scores:
        about = GUESSERS[score.guesser].about
        if score.accuracy is None:
            lines.append(f"| {score.guesser} | {about} | – | {score.note} |" + (" – |" if pairs else ""))
            continue
        known = score.ci_low is not None and score.ci_high is not None
        interval = f"{100 * (score.ci_low or 0):.1f} to {100 * (score.ci_high or 0):.1f}" if known else ""
        both = f" {100 * score.pair_accuracy:.1f} |" if score.pair_accuracy is not None else ""
        lines.append(f"| {score.guesser} | {about} | {100 * score.accuracy:.1f} | {interval} |{both}")
    return lines


def _kinds(report: Audit) -> list[str]:
    lines = [
        "| kind of question | questions | chance, % | best guesser | accuracy, % | 95 % interval |",
        "|---|---|---|---|---|---|",
    ]
    largest = sorted(report.kinds, key=lambda kind: -kind.n)
    for kind in largest[:KINDS_SHOWN]:
        title = " ".join(kind.kind.replace("|", "/").split()) or "not said"
        interval = f"{100 * kind.ci_low:.1f} to {100 * kind.ci_high:.1f}"
        cells = [title, f"{kind.n:,}", f"{100 * kind.chance:.1f}", kind.guesser, f"{100 * kind.accuracy:.1f}"]
        lines.append(f"| {' | '.join([*cells, interval])} |")
    if len(largest) > KINDS_SHOWN:
        lines += ["", f"{len(largest) - KINDS_SHOWN} smaller kinds are not shown."]
    lines += [
        "",
        "The best of so many guessers is picked on these very questions: in small kinds it is lucky.",
    ]
    return lines
