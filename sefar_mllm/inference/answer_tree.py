"""The candidate answers of one prompt as a tree of tokens, and which of them each of its nodes sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PretrainedConfig

from sefar_mllm.errors import SefarMLLMError


@dataclass
class Tree:
    """The inner tokens of one prompt's candidates; the root (-1) is the prompt's last position.

    Attributes:
        tokens: token of each node; only nodes that something follows are run.
        parents: parent of each node, always earlier in the list; -1 is the root.
        depths: 0 for the children of the root.
        paths: for each candidate, the nodes at which its tokens are predicted (the root first).
    """

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    paths: list[list[int]] = field(default_factory=list)

    @classmethod
    def of(cls, candidates: Sequence[Sequence[int]]) -> Tree:
        """Merge candidates (each of one token or more) by their common beginnings."""
        tree = cls()
        known: dict[tuple[int, int], int] = {}
        for candidate in candidates:
            path = [-1]
            for token in candidate[:-1]:
                key = (path[-1], token)
                if key not in known:
                    known[key] = len(tree.tokens)
                    tree.tokens.append(token)
                    tree.parents.append(path[-1])
                    tree.depths.append(len(path) - 1)
                path.append(known[key])
            tree.paths.append(path)
        return tree

    def mask(self, prompt: int, config: PretrainedConfig, dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
        """What is added to the attention scores of the prompt's tokens and the nodes behind them.

        Args:
            prompt: its tokens.
            config: of the language model: layers may see a sliding window alone, or their own chunk.
            dtype: of the mask.

        Returns:
            ``(1, 1, prompt + nodes, prompt + nodes)``; one for each kind of layer where they differ.

        Raises:
            SefarMLLMError: for layers that look back by other means than attention.
        """
        size = prompt + len(self.tokens)
        sees = torch.ones(size, size, dtype=torch.bool).tril()
        sees[prompt:, prompt:] = self.ancestry()
        positions = torch.tensor(self.positions(prompt))
        window, chunk = (getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size"))
        allowed = {"full_attention": sees}
        if window:
            allowed["sliding_attention"] = sees & (positions[:, None] - positions < window)
        if chunk:
            allowed["chunked_attention"] = sees & (positions[:, None] // chunk == positions // chunk)
        nearest = list(allowed)[-1]
        kinds = set(getattr(config, "layer_types", None) or [nearest]) - {"moe", "mlp"}
        if not kinds <= allowed.keys():
            raise SefarMLLMError(f"it has layers of {', '.join(sorted(kinds - allowed.keys()))}")
        added = {
            kind: torch.zeros(1, 1, size, size, dtype=dtype).masked_fill(
                ~allowed[kind], torch.finfo(dtype).min
            )
            for kind in kinds
        }
        return added if len(added) > 1 else added.popitem()[1]

    def positions(self, prompt: int) -> list[int]:
        """Place in its own sequence of each token of the prompt, and of each node behind it."""
        return [*range(prompt), *(prompt + depth for depth in self.depths)]

    def ancestry(self) -> Tensor:
        """``(nodes, nodes)`` booleans: which nodes a node sees (its ancestors and itself)."""
        sees = torch.eye(len(self.tokens), dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                sees[node] |= sees[parent]
        return sees
