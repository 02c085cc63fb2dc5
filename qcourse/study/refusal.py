"""To show a refusal and go on: a cell that stops with an error also stops Run All."""

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
        print(f"{type(e).__name__}: {e}")
    else:
        raise AssertionError(f"nothing was refused: {error.__name__} is expected")
