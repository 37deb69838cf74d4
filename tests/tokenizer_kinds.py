"""Tokenizers of every kind that language models come with, made on the spot and written into folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import sentencepiece
from mllm_sources import CHAT_TEMPLATE, NAMES, QUESTION, tiny_causal, tiny_tokenizer
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from sefar_mllm.doctor.self_test import train_pieces

TEXT = [*NAMES, QUESTION, "A. B. C. D. E. USER: ASSISTANT: Answer: system user assistant"]
LLAMA = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}
INST_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
    "{% else %}{{ '[INST] ' + message['content'].strip() + ' [/INST]' }}{% endif %}"
    "{% endfor %}"
)
DATE_TEMPLATE = "Today is {{ strftime_now('%d %B %Y, %H:%M:%S.%f') }}.\n" + CHAT_TEMPLATE


@cache
def spm(kind: str = "bpe") -> bytes:
    """A SentencePiece model of a few hundred pieces."""
    return train_pieces(TEXT * 20, 330, kind)


def llama(folder: Path, **settings: object) -> None:
    """As Vicuna's repository has it: tokenizer.model and tokenizer_config.json, no tokenizer.json."""
    (folder / "tokenizer.model").write_bytes(spm())
    values = {"tokenizer_class": "LlamaTokenizer", **LLAMA, "legacy": False, **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(values), encoding="utf-8")
    (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")


def llama_json(folder: Path) -> None:
    """The same as saved by Transformers: tokenizer.json, beginning of sequence by post-processor."""
    with TemporaryDirectory() as source:
        llama(Path(source))
        AutoTokenizer.from_pretrained(source).save_pretrained(folder)


def llama_converted(folder: Path, **settings: object) -> None:
    """As older Transformers converted it: a normaliser writes the space, before every piece of a text."""
    with TemporaryDirectory() as source:
        llama(Path(source))
        tokenizer = AutoTokenizer.from_pretrained(source)._tokenizer
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    names = {key: LLAMA[key] for key in ("bos_token", "eos_token", "unk_token")}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, **settings).save_pretrained(folder)


def unigram(folder: Path) -> None:
    """A unigram model, in which control tokens are pieces like any others, and a normaliser of width."""
    with TemporaryDirectory() as source:
        file = Path(source) / "spiece.model"
        file.write_bytes(spm("unigram"))
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(file))
        scores = [(pieces.id_to_piece(n), pieces.get_score(n)) for n in range(len(pieces))]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=0, byte_fallback=True))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    tokenizer.add_special_tokens([AddedToken(name, normalized=True) for name in ("<unk>", "<s>", "</s>")])
    names = {key: LLAMA[key] for key in ("bos_token", "eos_token", "unk_token")}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)


def byte_level(folder: Path, template: str | None = None, post: bool = False, space: bool = False) -> None:
    """A byte-level BPE: with a chat template, beginning of sequence by post-processor, space before texts."""
    tokenizer = tiny_tokenizer(chat=False)
    tokenizer.chat_template = template
    if post:
        bos = ("<|im_start|>", tokenizer.bos_token_id)
        tokenizer._tokenizer.post_processor = processors.TemplateProcessing(f"{bos[0]} $A", None, [bos])
    if space:
        tokenizer._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.save_pretrained(folder)


def unmarked(folder: Path) -> None:
    """Control tokens that are not marked as such, as DeepSeek's; and words added to the vocabulary."""
    tokenizer = tiny_tokenizer(chat=False)
    tokenizer.add_tokens([AddedToken(name, special=False) for name in ("<｜User｜>", "<think>", "yurchenko")])
    tokenizer.chat_template = CHAT_TEMPLATE.replace("<|im_start|>assistant", "<think><｜User｜>assistant")
    tokenizer.save_pretrained(folder)


def words(folder: Path) -> None:
    """Whole words and signs in lower case, as the oldest models': not every text comes back from it."""
    tokens = [
        "<unk>", "<s>", "</s>", *"abcde.:?'", "user", "assistant", "answer",
        *{word for text in TEXT for word in text.lower().replace("?", "").split()},
    ]  # fmt: skip
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {key: LLAMA[key] for key in ("bos_token", "eos_token", "unk_token")}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)


def smollm(folder: Path) -> None:
    """The embedded model's."""
    from sefar_mllm.model.language_model import embedded_folder

    AutoTokenizer.from_pretrained(embedded_folder()).save_pretrained(folder)


#: Name of a kind → what writes its files, and whether a text comes back from its ids unchanged.
KINDS: dict[str, tuple[Callable[[Path], None], bool]] = {
    "vicuna": (llama, True),
    "vicuna, legacy": (lambda folder: llama(folder, legacy=True), True),
    "vicuna, tokenizer.json": (llama_json, True),
    "vicuna, converted": (llama_converted, True),
    "mistral": (lambda folder: llama(folder, chat_template=INST_TEMPLATE), True),
    "mistral, legacy": (lambda folder: llama(folder, legacy=True, chat_template=INST_TEMPLATE), True),
    "mistral, converted": (lambda folder: llama_converted(folder, chat_template=INST_TEMPLATE), True),
    "unigram": (unigram, False),
    "byte-level": (byte_level, True),
    "byte-level, post-processor": (lambda folder: byte_level(folder, post=True), True),
    "byte-level, space before": (lambda folder: byte_level(folder, space=True), True),
    "chat": (lambda folder: byte_level(folder, CHAT_TEMPLATE), True),
    "chat, template and post-processor": (
        lambda folder: byte_level(folder, "{{ bos_token }}" + CHAT_TEMPLATE, post=True),
        True,
    ),
    "chat, beginning by template": (
        lambda folder: byte_level(folder, "{{ bos_token }}Hello\n" + CHAT_TEMPLATE),
        True,
    ),
    "chat, date": (lambda folder: byte_level(folder, DATE_TEMPLATE), True),
    "chat, unmarked": (unmarked, True),
    "words": (words, False),
    "SmolLM2": (smollm, False),  # which lacks some bytes
}


def tokenizer_of(kind: str, folder: Path) -> PreTrainedTokenizerBase:
    """A tokenizer as its language model's repository gives it."""
    from sefar_mllm.model.language_model import load_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    KINDS[kind][0](folder)
    return load_tokenizer(str(folder))


def language_model_of(kind: str, folder: Path) -> Path:
    """A tiny language model with a tokenizer of this kind."""
    vocabulary = len(tokenizer_of(kind, folder))
    tiny_causal(vocab_size=vocabulary).save_pretrained(folder)
    return folder
