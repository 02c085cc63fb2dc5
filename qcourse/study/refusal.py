"""To show a refusal and go on: a cell that stops with an error also stops Run All."""

import textwrap
from contextlib import contextmanager


@contextmanager
def refused(error: type[Exception] = ValueError):
    """Print the error that is raised inside, by its name and message. Raises AssertionError if none is.

    >>> with refused(KeyError):
    ...     {}["a"]
    KeyError: 'a'
    """
    try:
        yield
    except error as e:
        print(textwrap.fill(f"{type(e).__name__}: {e}", 88))
    else:
        raise AssertionError(f"nothing was refused: {error.__name__} is expected")
