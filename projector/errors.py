"""The package's own error: something the user can mend."""


class ProjectorError(Exception):
    """A bad input of the projector. The message names file, place, expectation and remedy."""
