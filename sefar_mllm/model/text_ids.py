"""Texts to token ids and back, piece by piece, whatever the tokenizer does to a text by itself.

Left alone, a tokenizer treats every text as a whole one: it may put a beginning-of-sequence token before it,
or a space, and it reads the names of its control tokens (``</s>``, ``<|im_start|>``) as those tokens. A piece
of a prompt must get none of that, unless the prompt's own template asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from transformers import PreTrainedTokenizerBase

from sefar_mllm.errors import SefarMLLMError

#: What a piece is tokenised behind, where a tokenizer puts a space before a text: the next where one would
#: merge with the piece, or is not kept.
ANCHORS = ("\n", "x", ",")
SPACES = "▁Ġ"  # how tokens write one: SentencePiece's, and byte-level BPE's


class TextIds:
    """Writes the pieces of a longer text as token ids.

    Args:
        tokenizer: of any kind: byte-level BPE, SentencePiece, with a beginning-of-sequence token or without.

    Attributes:
        opening: what the tokenizer itself puts before a text: its beginning-of-sequence token, or nothing.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        whole, letter = list(tokenizer("A")["input_ids"]), self._encode("A")
        places = range(len(whole) - len(letter) + 1)
        # Asked of its behaviour: what a tokenizer says of itself (`add_bos_token`) is lost when it is saved.
        self.opening = next((whole[:n] for n in places if whole[n : n + len(letter)] == letter), [])
        unknown = {tokenizer.unk_token_id} - {tokenizer.bos_token_id, tokenizer.eos_token_id}
        self.anchors: list[tuple[str, list[int]]] = []
        for anchor in ANCHORS:
            ids, both = self._encode(anchor), self._encode(f"{anchor}A")
            known = both[: len(ids)] == ids and unknown.isdisjoint(ids)
            if known and self._names(letter) in [space + self._names(both[len(ids) :]) for space in SPACES]:
                self.anchors.append((anchor, ids))
        added: dict[int, Any] = dict(getattr(tokenizer, "added_tokens_decoder", {}))
        names = {token.content for token in added.values() if is_control(token)}
        names |= {str(name) for name in tokenizer.all_special_tokens}
        # Longer than one character, or there would be no place to cut.
        patterns = [re.escape(name) for name in sorted(names) if len(name) > 1]
        self.control = re.compile(f"(?={'|'.join(patterns)})") if patterns else None
        special = {number for number, token in added.items() if token.special}
        self.special = (special | set(tokenizer.all_special_ids)) - unknown

    def start(self, text: str) -> list[int]:
        """Ids of the beginning of a template, with the tokenizer's opening once."""
        ids, opening = self._encode(text), self.opening
        return ids if ids[: len(opening)] == opening else [*opening, *ids]

    def template(self, text: str) -> list[int]:
        """Ids of a later piece of a template: the names of control tokens are those tokens."""
        return self._continued(text, self._encode)

    def literal(self, text: str) -> list[int]:
        """Ids of a later piece that anybody may have written: the names of control tokens are words.

        Raises:
            SefarMLLMError: when the tokenizer makes a control token of it all the same.
        """
        # Cut within each such name, so that no piece holds one.
        cuts = [match.start() + 1 for match in self.control.finditer(text)] if self.control else []
        pieces = (text[begin:end] for begin, end in pairwise([0, *cuts, len(text)]))
        return [token for piece in pieces for token in self._words(piece)]

    def decode(self, ids: list[int]) -> str:
        """The text of ids, without control tokens."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _words(self, text: str) -> list[int]:
        ids = self._continued(text, self._encode_words)
        if self.special.isdisjoint(ids):
            return ids
        # A normaliser may turn other characters into a control token's; one at a time they are none.
        ids = [token for character in text for token in self._continued(character, self._encode_words)]
        if self.special.isdisjoint(ids):
            return ids
        raise SefarMLLMError(
            f"the tokenizer makes a control token of {text[:80]!r}, which stands in a question or option; "
            "write it differently"
        )

    def _continued(self, text: str, encode: Callable[[str], list[int]]) -> list[int]:
        """Ids of a piece that something stands before: without the space that a whole text would get."""
        for anchor, ids in self.anchors:
            both = encode(anchor + text)
            if both[: len(ids)] == ids:
                return both[len(ids) :]
        return encode(text)

    def _names(self, ids: list[int]) -> str:
        return "".join(map(str, self.tokenizer.convert_ids_to_tokens(ids)))

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=False)["input_ids"])

    def _encode_words(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def is_control(token: Any) -> bool:
    """Whether an added token (a `tokenizers.AddedToken`) is more than a word or a stretch of space.

    Not every control token is marked as one: ``<think>`` and DeepSeek's ``<｜User｜>`` are not.
    """
    return bool(token.special or not re.fullmatch(r"[\w\s'-]+", token.content))
