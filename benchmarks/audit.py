"""How long an audit of synthetic questions takes without a language model: ``python benchmarks/audit.py``."""

from __future__ import annotations

import argparse
import random
import time

from gym_qa.audit.audit import audit
from gym_qa.questions.questions import Question

WORDS = [
    f"{first}{last}" for first in ("ba", "de", "ki", "lo", "mu", "ra") for last in ("n", "st", "rk", "l")
]


def questions(count: int, options: int, rng: random.Random) -> list[Question]:
    """Questions of about the length that published ones have: 12 words, options of 8."""
    made = []
    for n in range(count):
        texts = [" ".join(rng.choices(WORDS, k=rng.randint(4, 12))) for _ in range(options)]
        text = " ".join(rng.choices(WORDS, k=12)) + "?"
        made.append(Question(f"q{n}", f"v{n // 2}", text, tuple(texts), rng.randrange(options)))
    return made


def main() -> None:
    """Print the time and the blind scores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=10_000)
    parser.add_argument("--options", type=int, default=4)
    config = parser.parse_args()
    made = questions(config.questions, config.options, random.Random(0))
    start, before = time.perf_counter(), time.process_time()
    report = audit(made)
    seconds, busy = time.perf_counter() - start, time.process_time() - before
    print(f"{config.questions:,} synthetic questions, {config.options} options: {seconds:.1f} s, ", end="")
    print(f"{busy:.1f} s of a processor\n{report}")


if __name__ == "__main__":
    main()
