"""The package's own error: something the user can mend."""


class SefarMLLMError(Exception):
    """A bad input of the language side. The message names file, place, expectation and remedy."""
