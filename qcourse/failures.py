"""An exception → the one line that whoever typed the command reads: what was given, what is wrong, what to try."""

import errno
import json
import os
import struct
import zipfile

EXPECTED = (ValueError, OSError, ImportError, MemoryError)
TRY = {
    errno.ENOENT: "check the path",
    errno.EEXIST: "choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EACCES: "look at its permissions, or choose another place",
    errno.EPERM: "look at its permissions, or choose another place",
    errno.EROFS: "choose another place",
    errno.EISDIR: "a file is expected",
    errno.ENOTDIR: "a folder is expected",
    errno.ENOSPC: "make room, or choose another place",
    errno.EDQUOT: "make room, or choose another place",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}
OUT_OF_MEMORY = "out of memory ({}): fewer or shorter windows, a smaller model, or a machine with more"
NO_CUDA = "the CUDA device does not do it ({}): --device cpu needs none"


def line_of(error: BaseException, subject: str | None = None) -> str:
    """One line. `subject`: the model or folder that the command was about, named where the error itself names no file.

    An error that nobody expects is named by its type, and says how to see more.
    """
    said = " ".join(str(error).split())
    told = known(error, said)
    if told is None:
        told = f"{type(error).__name__}: {said or 'no reason given'} (unexpected; --debug shows where)"
    named = isinstance(error, EXPECTED) and not isinstance(error, (json.JSONDecodeError, UnicodeError))
    return told if named or not subject or subject in told else f"{subject}: {told}"


def known(error: BaseException, said: str) -> str | None:
    """What is said of an error that a user can cause; None for any other."""
    memory = ("out of memory", "allocate memory", "alloc_cpu", "not enough memory", "bad allocation")
    if isinstance(error, MemoryError) or isinstance(error, RuntimeError) and any(m in said.lower() for m in memory):
        return OUT_OF_MEMORY.format(said.split(". ")[0] or "no more is given")
    if isinstance(error, (RuntimeError, AssertionError)) and ("CUDA" in said or "NVIDIA" in said):
        return NO_CUDA.format(said.split(". ")[0])
    if isinstance(error, OSError) and not isinstance(error, ImportError) and error.errno is not None:
        return of_the_system(error, said)
    if isinstance(error, RuntimeError) and said.startswith("Symlink loop"):
        return f"{said}: a link that leads to itself"
    if isinstance(error, UnicodeEncodeError):
        return f"{error.reason}, in {error.encoding}: PYTHONUTF8=1 writes UTF-8"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 text ({error.reason} at byte {error.start})"
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON ({said})"
    if isinstance(error, (zipfile.BadZipFile, EOFError, struct.error)):
        return f"broken or cut short ({said or type(error).__name__})"
    if isinstance(error, RecursionError):
        return "nested too deeply to be read"
    if isinstance(error, ModuleNotFoundError) and said.startswith("No module named"):
        return f"the Python package {error.name!r} is not installed here"
    return said if isinstance(error, EXPECTED) and said else None


def of_the_system(error: OSError, said: str) -> str:
    """The file, what the system says of it, and what to try."""
    names = [os.fsdecode(n) for n in (error.filename, error.filename2) if isinstance(n, (str, bytes, os.PathLike))]
    told = f"{' → '.join(names)}: {error.strerror or said}" if names else error.strerror or said
    hint = TRY.get(error.errno)
    return f"{told}: {hint}" if hint else told
