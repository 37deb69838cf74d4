"""Temporal elements: the combination of the paper, any combination, short clips."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from encoder.errors import EncoderError
from encoder.video.elements import TemporalElements

combinations = st.lists(st.integers(1, 8), min_size=1, max_size=4).map(tuple)


def test_the_papers_combination():
    elements = TemporalElements((2, 2, 4))
    assert elements.slots == ((3, 7), (1, 5), (0, 2, 4, 6))
    assert elements.sample(8) == list(range(8))
    assert elements.sample(16) == [1, 3, 5, 7, 9, 11, 13, 15]


@pytest.mark.parametrize("text", ["2-2-4", "4-4", "8", "2-2-2-2", "2-6", "1-1-6"])
def test_parsing_and_printing(text):
    assert str(TemporalElements.parse(text)) == text


@pytest.mark.parametrize("text", ["", "2-", "a", "2-0-4", "-2", "2,2,4"])
def test_nonsense_is_refused(text):
    with pytest.raises(EncoderError, match="elements"):
        TemporalElements.parse(text)


@given(combinations)
def test_every_slot_belongs_to_one_element(sizes):
    elements = TemporalElements(sizes)
    assert sorted(slot for element in elements.slots for slot in element) == list(range(sum(sizes)))
    assert all(list(element) == sorted(element) for element in elements.slots)
    assert [len(element) for element in elements.slots] == list(sizes)
    assert (elements.same_element().sum(1) == torch.tensor([sizes[e] for e in owners(elements)])).all()


def owners(elements):
    return [next(i for i, e in enumerate(elements.slots) if slot in e) for slot in range(elements.n_frames)]


@given(combinations, st.integers(0, 400), st.integers(0, 5))
def test_frames_of_long_clips_lie_in_their_bins(sizes, extra, seed):
    elements = TemporalElements(sizes)
    n = elements.n_frames
    total = n + extra
    for generator in (None, torch.Generator().manual_seed(seed)):
        frames = elements.sample(total, generator)
        assert all(slot * total // n <= f < (slot + 1) * total // n for slot, f in enumerate(frames))


def test_training_draws_every_frame_of_a_bin():
    generator = torch.Generator().manual_seed(0)
    drawn = torch.tensor([TemporalElements().sample(40, generator) for _ in range(2000)])
    counts = torch.bincount(drawn.flatten(), minlength=40)
    assert counts.min() > 320  # 400 expected of each
    assert counts.max() < 480


@given(combinations, st.data())
def test_short_clips(sizes, data):
    elements = TemporalElements(sizes)
    total = data.draw(st.integers(1, elements.n_frames))
    if total < sizes[-1]:
        with pytest.raises(EncoderError, match=f"{total} frames"):
            elements.sample(total)
        return
    frames = elements.sample(total)
    assert all(0 <= f < total for f in frames)
    context = [frames[slot] for slot in elements.slots[-1]]
    assert context == sorted(set(context)), "the context element never uses a frame twice"
    for element in elements.slots:
        assert [frames[s] for s in element] == sorted(frames[s] for s in element)


def test_a_clip_of_five_frames():
    assert TemporalElements().sample(5) == [0, 0, 2, 0, 3, 3, 4, 3]
