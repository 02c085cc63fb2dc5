"""Where `qcourse.checks` used to be: labs that were handed out before it moved keep working."""

from qcourse.checks import check, hint, solution, when_done

__all__ = ["check", "hint", "solution", "when_done"]
