"""From your own videos and questions to a model that answers: write questions, extract, fine-tune, ask.

    sefar-mllm make-minigym --size tiny --output data/minigym/tiny
    sefar-mllm build-qa --data data/minigym/tiny --fraction 0.5 --output runs/tiny/qa
    python examples/own_questions.py runs/tiny/qa/train.csv --video-root data/minigym/tiny/videos \
      --output runs/own --steps 100

The list's folder holds ``classes.json``, the names of its labels. By default an image network looks at the
frames and SmolLM2-135M answers, both from ``requirements-assets.txt``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from encoder.features.extract import ExtractConfig, extract
from encoder.video.clips import read_classes, read_clips
from gym_qa import Question, write_questions
from sefar_mllm import FinetuneConfig, VideoQA, finetune

TEXT = "Which movement does the video show?"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("clips", type=Path, help="clip list: CSV with video and label")
    parser.add_argument("--video-root", type=Path, help="by default the list's folder")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--encoder", default="efficientnet-lite0")
    parser.add_argument("--language-model", default="SmolLM2-135M-Instruct")
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()

    clips = read_clips(options.clips, options.video_root)
    names = [info.name for info in read_classes(options.clips.with_name("classes.json"))]
    rng = np.random.default_rng(0)
    questions = []
    for clip in clips:
        others = [label for label in range(len(names)) if label != clip.label]
        labels = rng.permutation([clip.label, *rng.permutation(others)[:3]]).tolist()
        texts = tuple(names[label] for label in labels)
        questions.append(Question(clip.id, clip.id, TEXT, texts, labels.index(clip.label), clip.label))
    options.output.mkdir(parents=True)
    file, store, model = (options.output / name for name in ("questions.jsonl", "features", "model"))
    write_questions(file, questions)

    root = options.video_root
    extract(ExtractConfig(options.encoder, [options.clips], store, video_root=root, workers=0))
    finetune(
        FinetuneConfig(
            questions=file,
            features=store,
            language_model=options.language_model,
            output=model,
            max_steps=options.steps,
            batch_size=4,
        )
    )

    asked = questions[0]
    answer = VideoQA.from_pretrained(model).ask(clips[0].path, asked.question, asked.options)
    for text, probability in zip(answer.options, answer.probabilities, strict=True):
        print(f"{100 * probability:5.1f} %  {text}")
    print(f"{clips[0].path}: {answer.text}; it is {names[clips[0].label]}")


if __name__ == "__main__":
    main()
