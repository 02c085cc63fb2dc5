"""The classroom's room: a folder of submissions becomes grades, feedback pages and a class summary. See docs/classroom.md.

**The judge never shares a process with the accused.** Four kinds of process, each holding less than the one before:

    qcourse grade      reads submissions, keeps results, writes the report; runs nobody's code, imports no torch
      └ judge          one a core: qcourse.checks with hidden seeds; asks questions over a pipe       (worker.py)
          └ zygote     torch, numpy and IPython loaded once, but no checks; only forks                       (zygote.py)
              └ student    one a submission, inside the sandbox: runs the cells, then answers "call f(x)"    (student.py)

What comes back from a student's process is data, decoded strictly (codec.py); nothing of it is ever unpickled or executed.
"""

from qcourse.classroom.limits import Limits


def grade(*args, **kwargs):
    """`qcourse.classroom.grade.grade`, imported on first use."""
    from qcourse.classroom.grade import grade

    return grade(*args, **kwargs)


__all__ = ["Limits", "grade"]
