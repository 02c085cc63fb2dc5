"""Checks that are themselves tested with wrong answers: `check("01.2", dequantize)`, `hint("01.2")`, `solution("01.2")`.

A check runs the student's function on fresh random inputs, compares it with a second implementation, and when it is wrong
names the mistake. Each known mistake is kept as a small program that makes it; the one that gives the student's outputs is
theirs. Whoever grades calls the same `judge`.
"""

from qcourse.checks.ask import check, hint, solution, when_done

__all__ = ["check", "hint", "solution", "when_done"]
