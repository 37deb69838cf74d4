"""Likelihood of answers: each prompt is run once, and all its candidate answers share its key/value cache.

The candidates of one prompt are merged into a tree of tokens in which common beginnings stand once ("salto
backward tucked" and "salto backward piked" share several). The tree is run as one sequence behind the cache,
under an attention mask by which a token sees the prompt and its own ancestors. The result is that of one
full pass per candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sefar_mllm.model import SefarMLLM


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

    def ancestry(self) -> Tensor:
        """``(nodes, nodes)`` booleans: which nodes a node sees (its ancestors and itself)."""
        sees = torch.eye(len(self.tokens), dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                sees[node] |= sees[parent]
        return sees


@torch.inference_mode()
def log_likelihoods(
    model: SefarMLLM,
    prompts: Sequence[Sequence[int]],
    candidates: Sequence[Sequence[Sequence[int]]],
    features: Tensor | None = None,
) -> list[list[float]]:
    """log p(candidate | prompt), summed over the candidate's tokens, in nats.

    Args:
        model: in eval mode.
        prompts: ids of each prompt, places for the video included.
        candidates: for each prompt, the ids of its candidate answers.
        features: standardised, ``(prompts, n, dim)``, or none for prompts without a video.

    Returns:
        For each prompt, one number per candidate.
    """
    device = model.device
    width = max(map(len, prompts))
    # Padded on the left: every prompt's last position is the last column, and its tree comes right behind it.
    ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts], device=device)
    features = None if features is None else features.to(device)
    prefix = model.causal.base_model(
        inputs_embeds=model.embed(ids, features),
        attention_mask=mask,
        position_ids=(mask.cumsum(1) - 1).clamp(min=0),
        use_cache=True,
    )
    trees = [Tree.of(row) for row in candidates]
    hidden = [prefix.last_hidden_state[:, -1:]]
    if any(tree.tokens for tree in trees):
        hidden.append(run_trees(model, trees, mask, prefix.past_key_values))
    states = torch.cat(hidden, dim=1)  # column 0 is the root, column 1 + k the node k
    return [gather(model, states[row], trees[row], candidates[row]) for row in range(len(prompts))]


def run_trees(model: SefarMLLM, trees: Sequence[Tree], mask: Tensor, cache: object) -> Tensor:
    """Hidden states ``(B, nodes, hidden)`` of the trees' nodes behind cached prompts (mask ``(B, S)``)."""
    device, size = mask.device, max(len(tree.tokens) for tree in trees)
    rows, width = mask.shape
    tokens = torch.zeros(rows, size, dtype=torch.long)
    depths = torch.zeros(rows, size, dtype=torch.long)
    # A padding node sees itself, so that no row of the mask is empty; nothing reads it.
    sees = torch.eye(size, dtype=torch.bool).repeat(rows, 1, 1)
    for row, tree in enumerate(trees):
        count = len(tree.tokens)
        tokens[row, :count] = torch.tensor(tree.tokens, dtype=torch.long)
        depths[row, :count] = torch.tensor(tree.depths, dtype=torch.long)
        sees[row, :count, :count] = tree.ancestry()
    prompt_part = mask.bool()[:, None, :].expand(rows, size, width)
    allowed = torch.cat([prompt_part, sees.to(device)], dim=2)[:, None]
    embedded = model.embed(tokens.to(device), None)
    additive = torch.zeros(allowed.shape, dtype=embedded.dtype, device=device)
    additive.masked_fill_(~allowed, torch.finfo(embedded.dtype).min)
    return model.causal.base_model(
        inputs_embeds=embedded,
        attention_mask=additive,
        position_ids=mask.sum(1, keepdim=True) + depths.to(device),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state


def gather(model: SefarMLLM, states: Tensor, tree: Tree, candidates: Sequence[Sequence[int]]) -> list[float]:
    """Sum each candidate's token log-probabilities, given the states ``(1 + nodes, hidden)`` of its tree."""
    log_probabilities = model.logits(states[: 1 + len(tree.tokens)]).log_softmax(-1)
    sums = []
    for path, tokens in zip(tree.paths, candidates, strict=True):
        places = torch.tensor(path, device=states.device) + 1
        chosen = log_probabilities[places, torch.tensor(list(tokens), device=states.device)]
        sums.append(float(chosen.double().sum()))
    return sums
