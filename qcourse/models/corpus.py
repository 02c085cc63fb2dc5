"""The text: your own Python's standard library, split into train, calibration and held-out by named files.

Everyone who can run the course already has it, nothing is downloaded and nothing is shipped. The 30 held-out
files exist in every CPython from 3.8 to 3.13, but they drift a little between versions, so an absolute loss is
quoted as an interval and only *differences* on one reader's text are asserted.
Some distributions leave out `test/`: held-out and calibration text never come from there, only training text.
"""

import hashlib
import sysconfig
from pathlib import Path

HELD_OUT = (
    "argparse.py", "asyncio/base_events.py", "configparser.py", "difflib.py", "email/_header_value_parser.py",
    "ftplib.py", "functools.py", "gzip.py", "heapq.py", "html/parser.py", "http/client.py", "http/cookiejar.py",
    "imaplib.py", "json/encoder.py", "logging/__init__.py", "mailbox.py", "multiprocessing/managers.py",
    "multiprocessing/pool.py", "optparse.py", "pickletools.py", "profile.py", "pstats.py", "pydoc.py", "queue.py",
    "selectors.py", "smtplib.py", "tarfile.py", "textwrap.py", "urllib/parse.py", "xml/etree/ElementTree.py",
)  # fmt: skip
CALIBRATION = (
    "bdb.py", "csv.py", "email/message.py", "http/server.py", "pickle.py", "tempfile.py", "threading.py",
    "unittest/case.py", "zipimport.py",
)  # fmt: skip
TABLES = ("encodings/", "html/entities.py", "_sysconfigdata", "pydoc_data/__init__", "site-packages/", "dist-packages/")
SPLITS = ("train", "calibration", "held_out")


def stdlib() -> Path:
    """The folder of the running Python's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def file_names(split: str) -> list[str]:
    """Names, relative to `stdlib()`, of the files in a split ("train", "calibration", "held_out"), sorted.

    Raises ValueError for an unknown split, FileNotFoundError naming the held-out or calibration files missing here.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: one of {', '.join(SPLITS)}")
    root = stdlib()
    if split == "train":
        reserved = {*HELD_OUT, *CALIBRATION}
        names = sorted(p.relative_to(root).as_posix() for p in root.rglob("*.py"))
        return [n for n in names if n not in reserved and not n.startswith(TABLES)]
    names = list(HELD_OUT if split == "held_out" else CALIBRATION)
    missing = [n for n in names if not (root / n).is_file()]
    if missing:
        raise FileNotFoundError(f"{split} text: {', '.join(missing)} not found under {root}; is this a full CPython?")
    return names


def read(split: str) -> list[str]:
    """The texts of a split, one string a file, in the order of `file_names`; files that are not UTF-8 are left out."""
    texts = []
    for name in file_names(split):
        try:
            texts.append((stdlib() / name).read_bytes().decode("utf-8").replace("\r\n", "\n"))
        except UnicodeDecodeError:  # a few of the interpreter's own tests are broken on purpose
            continue
    return texts


def digest(texts: list[str]) -> str:
    """Eight hex digits that name a set of texts, for cache files and for quoting beside a number."""
    h = hashlib.sha256()
    for text in texts:
        h.update(hashlib.sha256(text.encode("utf-8")).digest())
    return h.hexdigest()[:8]
