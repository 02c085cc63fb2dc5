"""Whether a lab function calls the package, instead of doing the work that the lab asks for.

It is seen from the calls themselves, whatever the function's text looks like: through an alias, a helper or a lambda.
"""

import sys
from collections.abc import Callable

OURS = ("qcourse.checks", "qcourse.classroom")  # who asks, and who carries the question


def borrowing(fn: Callable, seen: list[str]) -> Callable:
    """`fn`, noting in `seen` the first function of the package that a call of it enters, by its full name.

    What runs while a module of the package is imported is not noted. Works in any thread; a profiler that runs is put back.
    """

    def watched(*args):
        before = sys.getprofile()

        def see(frame, event, _):
            if event == "call" and (name := package_function(frame)):
                seen.append(name)
                sys.setprofile(before)

        sys.setprofile(see)
        try:
            return fn(*args)
        finally:
            sys.setprofile(before)

    return watched


def package_function(frame) -> str | None:
    """The full name of the package's function that a frame runs, or None."""
    name = frame.f_globals.get("__name__")
    if not isinstance(name, str) or not name.startswith("qcourse.") or name.startswith(OURS):
        return None
    caller = frame
    while caller is not None:
        if caller.f_code.co_name == "<module>" and str(caller.f_globals.get("__name__")).startswith("qcourse"):
            return None
        caller = caller.f_back
    return f"{name}.{frame.f_code.co_qualname}"
