"""The package's own error: something the user can mend."""

from __future__ import annotations


class EncoderError(Exception):
    """A bad input of the encoder. The message names file, place, expectation and remedy."""


def first_line(error: object) -> str:
    """The first line of what an exception of a library says; its class where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
