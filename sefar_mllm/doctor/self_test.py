"""``doctor --self-test``: the whole path on this machine, in minutes, on small things of the real kind."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch

from encoder.features.extract import ExtractConfig, extract
from encoder.loading.scan import scan_clips
from encoder.recipes.config import RecipeConfig
from encoder.training.config import DataConfig, ModelConfig, OptimConfig, TrainConfig
from encoder.training.train import train
from encoder.video.elements import TemporalElements
from gym_qa.benchmark.build import BuildQAConfig, build_qa
from gym_qa.minigym import MiniGymConfig, make_minigym
from gym_qa.questions.questions import read_questions, write_questions
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.evaluation.evaluate import EvaluateConfig, evaluate
from sefar_mllm.finetuning.config import FinetuneConfig
from sefar_mllm.finetuning.finetune import finetune
from sefar_mllm.inference.ask import AskConfig, ask_verb
from sefar_mllm.model.lora import LoraOptions
from sefar_mllm.model.merge import MergeConfig, merge
from sefar_mllm.model.prompts import PromptConfig

QUESTIONS = 24
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}


def train_pieces(texts: Iterable[str], size: int, kind: str = "bpe") -> bytes:
    """A SentencePiece model with bytes to fall back on, as Llama's.

    Args:
        texts: what it is trained on.
        size: pieces, at most.
        kind: ``bpe`` or ``unigram``.
    """
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=size,
        hard_vocab_limit=False,
        model_type=kind,
        byte_fallback=True,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def small_vicuna(folder: Path, words: list[str]) -> Path:
    """A language model as Vicuna's repository ships it, two layers deep and narrow, with random weights.

    A SentencePiece ``tokenizer.model`` without ``tokenizer.json``, half precision, generation settings that
    sample, as `lmsys/vicuna-7b-v1.5` has them.

    Args:
        folder: where to write it.
        words: text that the tokenizer learns its pieces from.
    """
    import sentencepiece
    from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig

    folder.mkdir(parents=True)
    (folder / "tokenizer.model").write_bytes(train_pieces(words, 400))
    tokenizer = {**SPECIAL, "tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "legacy": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=pieces.vocab_size(),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=4096,
        initializer_range=0.2,
        pad_token_id=0,
    )
    model = AutoModelForCausalLM.from_config(config).half()
    model.generation_config = GenerationConfig(
        bos_token_id=1, eos_token_id=2, pad_token_id=0, do_sample=True, temperature=0.9, top_p=0.6
    )
    model.save_pretrained(folder)
    return folder


def self_test(device: str) -> None:
    """Run every step on ``device``, one line each, in a temporary folder.

    Raises:
        SefarMLLMError: a step failed; its output is printed before.
    """
    quantization = "nf4" if importlib.util.find_spec("bitsandbytes") else "none"
    print(
        f"self-test on {device}, torch {torch.__version__}; synthetic clips, a small Vicuna ({quantization})"
    )
    with tempfile.TemporaryDirectory(prefix="sefar-self-test-") as folder:
        for name, step in steps(Path(folder), device, quantization):
            started, said = time.perf_counter(), io.StringIO()
            try:
                with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                    step()
            except Exception as error:
                print(f"{said.getvalue()[-4000:]}\n{name}: FAILED")
                raise SefarMLLMError(f"self-test: {name}: {type(error).__name__}: {error}") from error
            print(f"{name:<58} ok  {time.perf_counter() - started:6.1f} s", flush=True)


def steps(folder: Path, device: str, quantization: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """Each step's name and what it does; a step may use what those before it left."""
    data, qa, videos = folder / "minigym", folder / "qa", folder / "minigym/videos"
    yield "render MiniGym tiny", lambda: make_minigym(MiniGymConfig(data, "tiny", renderer="sticks"))
    yield "build and audit questions", lambda: build_qa(BuildQAConfig(data=data, output=qa, fraction=0.2))
    lists = [qa / "train.csv", qa / "val.csv"]

    def decode() -> None:
        scan = scan_clips(lists, TemporalElements(), videos)
        if scan.unusable:
            raise SefarMLLMError(f"{scan.unusable} of {scan.clips} clips cannot be used")

    yield "decode every frame of every clip, in and out of order", decode
    encoder = folder / "sefar"
    yield (
        "train SeFAR, 8 updates, bf16",
        lambda: train(
            TrainConfig(
                output=encoder,
                data=DataConfig(
                    labelled=qa / "train.csv",
                    unlabelled=qa / "unlabelled.csv",
                    val=qa / "val.csv",
                    video_root=videos,
                    short_side=96,
                ),
                model=ModelConfig(weights="minigym", image_size=80),
                recipe=RecipeConfig("sefar", warmup_epochs=1),
                optim=OptimConfig("adamw", learning_rate=1e-3, schedule="cosine"),
                epochs=2,
                updates=8,
                labelled_batch=8,
                mixed_precision="bf16",
                evaluate_every=0,
            )
        ),
    )
    few = {name: folder / f"{name}.jsonl" for name in ("train", "val")}
    features = folder / "features"

    def store() -> None:
        for name, path in few.items():
            write_questions(path, read_questions(qa / f"{name}_questions.jsonl")[:QUESTIONS])
        extract(
            ExtractConfig(
                f"sefar:{encoder / 'teacher'}",
                lists,
                features,
                video_root=videos,
                device=device,
                short_side=96,
            )
        )

    yield "store its features", store
    run = folder / "mllm"

    def tune(max_steps: int) -> None:
        questions = read_questions(few["train"])
        model = folder / "vicuna"
        if not model.exists():
            small_vicuna(model, [text for q in questions for text in (q.question, *q.options)])
        finetune(
            FinetuneConfig(
                questions=few["train"],
                output=run,
                features=features,
                language_model=str(model),
                quantization=quantization,  # type: ignore[arg-type]
                precision="bf16",
                prompt=PromptConfig("letter", style="vicuna"),
                lora=LoraOptions(rank=16, alpha=32, dropout=0.05),
                batch_size=4,
                accumulation=2,
                max_steps=max_steps,
                save_every=1,
                resume=True,
                trainer={"gradient_checkpointing": True, "use_cpu": device == "cpu"},
            )
        )

    yield f"fine-tune, {quantization}, bf16, activation checkpointing", lambda: tune(2)
    answers = EvaluateConfig(
        few["val"], folder / "answers", run, features, no_video=True, generate=True, device=device
    )
    yield "answer, with and without video", lambda: evaluate(answers)
    yield "merge", lambda: merge(MergeConfig(run, folder / "merged"))

    def ask() -> None:
        question = read_questions(few["val"])[0]
        ask_verb(
            AskConfig(
                videos / f"{question.video}.mp4",
                question.question,
                run,
                list(question.options),
                output=folder / "asked",
                device=device,
            )
        )

    yield "ask about a clip", ask
