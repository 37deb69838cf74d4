"""Likelihood of answers: a prompt and all its candidate answers share one pass of the language model.

The candidates of one prompt are merged into a tree of tokens in which common beginnings stand once ("salto
backward tucked" and "salto backward piked" share several). Prompt and tree are run as one sequence under an
attention mask by which a token sees the prompt and its own ancestors, each at its own position. The result
is that of one full pass per candidate.

Which families that holds for is not written down anywhere: every model shows it by itself, on a made-up
prompt as long as the longest that it is asked. One that does not (recurrent layers, positions that follow
from the place in the sequence) is run once per candidate.

Every prompt is run by itself, with its own candidates. In bfloat16 a matrix product rounds otherwise when
other rows stand beside it, by tenths of a nat over an answer: so no score may depend on what else is asked.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.inference.answer_tree import Tree
from sefar_mllm.model.mllm import SefarMLLM
from sefar_mllm.model.suitable import most_positions, reason

log = logging.getLogger("sefar_mllm")

OPTION, COMMON = 16, 2  # tokens of a made-up option, and those that it shares with the others
NOISE = 2.0  # times the effect of rounding the input once; two right ways differ by up to 0.7 of it


@torch.no_grad()
def log_likelihoods(
    model: SefarMLLM,
    prompts: Sequence[Sequence[int]],
    candidates: Sequence[Sequence[Sequence[int]]],
    features: Tensor | None = None,
) -> list[list[float]]:
    """log p(candidate | prompt), summed over the candidate's tokens, in nats.

    A prompt's numbers do not depend on the other prompts.

    Args:
        model: in eval mode.
        prompts: ids of each prompt, places for the video included.
        candidates: for each prompt, the ids of its candidate answers.
        features: standardised, ``(prompts, n, dim)``, or none for prompts without a video.

    Returns:
        For each prompt, one number per candidate.

    Raises:
        SefarMLLMError: when the language model has too few positions, or cannot be run.
    """
    features = None if features is None else features.to(model.device)
    lengths = [len(p) + max(map(len, c)) for p, c in zip(prompts, candidates, strict=True)]
    check_passes(model, max(lengths, default=0))
    way = together if model.shares_passes else one_by_one
    sums = []
    for number, (prompt, answers) in enumerate(zip(prompts, candidates, strict=True)):
        shown = None if features is None else features[number : number + 1]
        settle_frequencies(model.causal, lengths[number])
        sums.append([float(tokens.double().sum()) for tokens in way(model, prompt, answers, shown)])
    return sums


def together(
    model: SefarMLLM, prompt: Sequence[int], candidates: Sequence[Sequence[int]], features: Tensor | None
) -> list[Tensor]:
    """log p of each candidate's tokens behind the prompt, by one pass over their tree."""
    tree, device = Tree.of(candidates), model.device
    inputs = model.inputs(torch.tensor([[*prompt, *tree.tokens]], device=device), features)
    mask = tree.mask(len(prompt), model.causal.config.get_text_config(), inputs["inputs_embeds"].dtype)
    inputs["attention_mask"] = (
        {kind: part.to(device) for kind, part in mask.items()} if isinstance(mask, dict) else mask.to(device)
    )
    inputs["position_ids"] = torch.tensor([tree.positions(len(prompt))], device=device)
    chosen = torch.arange(len(prompt) + len(tree.tokens), device=device)[None] >= len(prompt) - 1
    # Row 0 is the root, row 1 + k the node k.
    rows = model.logits(chosen, exact=True, **inputs).log_softmax(-1)
    return [
        rows[torch.tensor(path, device=device) + 1, torch.tensor(list(tokens), device=device)]
        for path, tokens in zip(tree.paths, candidates, strict=True)
    ]


def one_by_one(
    model: SefarMLLM, prompt: Sequence[int], candidates: Sequence[Sequence[int]], features: Tensor | None
) -> list[Tensor]:
    """log p of each candidate's tokens behind the prompt, by a pass for each candidate.

    Args:
        model: in eval mode.
        prompt: its ids.
        candidates: the ids of its candidate answers.
        features: ``(1, n, dim)``, or none.
    """
    rows = []
    for tokens in candidates:
        ids = torch.tensor([[*prompt, *tokens]], device=model.device)
        rows.append(behind(model, len(prompt), ids, **model.inputs(ids, features))[0])
    return rows


def behind(model: SefarMLLM, prompt: int, ids: Tensor, **inputs: Any) -> Tensor:
    """log p ``(B, S - prompt)`` of the tokens of ids ``(B, S)`` that stand behind a prompt of so many."""
    positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    chosen = (positions >= prompt - 1) & (positions < ids.shape[1] - 1)
    logits = model.logits(chosen, exact=True, **inputs).log_softmax(-1)
    return logits.gather(1, ids[:, prompt:].reshape(-1, 1)).view(len(ids), -1)


@torch.no_grad()  # not inference mode: what FSDP makes in a first pass is used in training as well
def check_passes(model: SefarMLLM, length: int) -> None:
    """See whether candidates may share a pass behind prompts up to ``length`` tokens, the answer included.

    Two made-up options behind a made-up prompt share a pass, and the second, whose tokens there stand away
    from their positions, has one of its own. They must agree as closely as rounding allows, which is
    measured in the same pass: how much the scores change when the input is rounded once more. Where they do
    not, or where the shared pass fails, ``model.shares_passes`` becomes false, and a line says so.

    Args:
        model: in eval mode.
        length: done once for each length that is longer than before.

    Raises:
        SefarMLLMError: when the language model has too few positions, or cannot be run at all.
    """
    if length <= model.checked_length:
        return
    check_positions(model, length)
    kind = type(model.causal).__name__
    model.checked_length = length
    if not model.shares_passes:
        return
    size = min(OPTION, max(length - 1, 1))
    words = model.causal.config.get_text_config().vocab_size
    made_up = torch.randint(words, (length + size,), generator=torch.Generator().manual_seed(0)).tolist()
    prompt, common = made_up[: length - size], made_up[:COMMON]
    first, last = ([*common, *made_up[start:]][:size] for start in (length - size, length))
    settle_frequencies(model.causal, length)
    try:
        right, rounded = with_rounding(model, prompt, last)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise SefarMLLMError(
            f"{kind} cannot score a prompt with answer of {length} tokens: {reason(error)}; name another "
            "language model"
        ) from error
    try:
        difference = spread(together(model, prompt, [first, last], None)[1] - right)
        if difference <= NOISE * spread(rounded - right) + 1e-6:
            return
        why = f"off by {difference:.2g} nats a token"
    except torch.OutOfMemoryError:
        raise
    except SefarMLLMError as error:
        why = str(error)
    except Exception as error:
        why = reason(error)
    model.shares_passes = False
    log.info("%s: options cannot share a pass (%s): each is run by itself, which takes longer", kind, why)


def with_rounding(model: SefarMLLM, prompt: Sequence[int], tokens: Sequence[int]) -> tuple[Tensor, Tensor]:
    """log p of a candidate's tokens by a pass of its own, and of an input that is rounded once more."""
    ids = torch.tensor([[*prompt, *tokens]] * 2, device=model.device)
    inputs = model.inputs(ids, None)
    words = inputs["inputs_embeds"].clone()
    noise = torch.randn(words[1].shape, generator=torch.Generator().manual_seed(0)).to(words.device)
    words[1] = words[1] * (1 + torch.finfo(working_dtype(model)).eps * noise)
    right, rounded = behind(model, len(prompt), ids, **{**inputs, "inputs_embeds": words})
    return right, rounded


def check_positions(model: SefarMLLM, length: int) -> None:
    """Refuse sequences that are longer than the model's table of positions, where it has one."""
    most = most_positions(model.causal)
    if most is not None and length > most:
        raise SefarMLLMError(
            f"prompt and answer take {length} tokens, but {type(model.causal).__name__} has positions for "
            f"{most}: shorten the question or its options, use fewer video tokens, or name another language "
            "model"
        )


def settle_frequencies(causal: PreTrainedModel, length: int) -> None:
    """Rotary frequencies of sequences of ``length`` tokens, for families that stretch them as they need.

    Dynamic scaling keeps those of the longest sequence since the last short one: without this, a score would
    depend on what was run before. All candidates of a prompt get those of the longest.
    """
    for part, layer in stretched(causal):
        for tokens in (1, length):
            positions = torch.arange(tokens, device=causal.device)[None]
            part(positions[..., None].float(), positions, **({"layer_type": layer} if layer else {}))


def stretched(causal: PreTrainedModel) -> list[tuple[nn.Module, str | None]]:
    """Rotary embeddings with dynamic scaling, each with its kind of layer where there are several."""
    layers = []
    for part in causal.modules():
        kinds = getattr(part, "rope_type", None)
        for layer, kind in kinds.items() if isinstance(kinds, dict) else [(None, kinds)]:
            if isinstance(kind, str) and "dynamic" in kind:
                layers.append((part, layer))
    return layers


def working_dtype(model: SefarMLLM) -> torch.dtype:
    """Of the matrix products: autocast's, where it is on."""
    device = model.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else model.causal.dtype


def spread(values: Tensor) -> float:
    """Root mean square."""
    return float(values.double().pow(2).mean().sqrt())
