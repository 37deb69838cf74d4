"""The package's own error: something the user can mend."""


class GymQAError(Exception):
    """A bad input of the question builder. The message names file, place, expectation and remedy."""


def in_a_line(error: BaseException) -> str:
    """What an exception of a library says, in one line; its type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
