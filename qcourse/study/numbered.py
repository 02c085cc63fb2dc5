"""Numbers from words, the same everywhere: what draws a patient of the clinic, and a student's patient. Without torch, since
whoever hands numbers out needs none."""

import hashlib

MOST = 1 << 31  # the numbers of patients are below it


def number(words: str) -> int:
    """A number of 64 bits."""
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "little")


def for_student(name_or_id: str, class_number: int | str) -> int:
    """A student's patient: another one for (nearly) everybody, known to whoever knows the class's number."""
    return number(f"{class_number} {name_or_id}") % MOST
