"""The package's own error: something the user can mend."""


class EncoderError(Exception):
    """A bad input of the encoder. The message names file, place, expectation and remedy."""
