"""The one error that a kernel raises instead of computing garbage or falling back to something slow in silence."""


class KernelMismatch(ValueError):
    """A layout meets a kernel that does not understand it (or a device that lacks the instruction): invariant 4.

    The message says what was given, what is legal, and what to try.
    """
