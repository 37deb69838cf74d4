"""The package's own error: something the user can mend."""


class GymQAError(Exception):
    """A bad input of the question builder. The message names file, place, expectation and remedy."""
