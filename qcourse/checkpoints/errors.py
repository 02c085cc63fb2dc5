"""The one error of everything that is read from a file."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be loaded; the message names the file, the tensor, and what was expected."""
