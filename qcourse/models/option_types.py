"""What the options of commands are checked against: models, schemes, layouts, KV presets, GGUF types. Each raises argparse's
error naming what there is and the nearest; the tables are loaded when an option is given, not for --help."""

import argparse
from pathlib import Path

from qcourse.options import checked, did_you_mean, one_of

READ = "shipped, smollm2, a folder or a .gguf file; only read"
MADE = "the folder to make; OUT.part until it is complete"


def subjects() -> list[str]:
    """Models that have a name: the shipped one, and those that `qcourse fetch` brings."""
    from qcourse.models.subjects import SUBJECTS

    return ["shipped", *SUBJECTS]


def there(text: str) -> Path:
    """A subject's name or a path → the path. Raises ValueError for a subject that is not here, and for no such file."""
    from qcourse.models.subjects import source_of

    path = source_of(text)
    if not text or not path.exists():
        names = f"no such folder or file, and no name of a model ({', '.join(subjects())})"
        raise ValueError(f"{text or repr(text)}: {names}{did_you_mean(text, subjects())}")
    return path


def openable(text: str) -> Path:
    """`there`, and a folder or a .gguf file. Raises ValueError for any other file."""
    path = there(text)
    if path.is_file() and path.suffix != ".gguf":
        raise ValueError(f"{text}: a folder (config.json, model.safetensors, tokenizer.json) or a .gguf file expected")
    return path


def source(text: str) -> Path:
    """An option's type: a subject's name or a path, as a path."""
    try:
        return openable(text)
    except (ValueError, OSError) as e:
        raise argparse.ArgumentTypeError(str(e)) from None


def schemes() -> list[str]:
    """Names of PRESETS."""
    from qcourse.numerics.schemes import PRESETS

    return list(PRESETS)


def check_scheme(text: str) -> None:
    """Raise ValueError unless it is a preset's name, or one with a group size behind it."""
    from qcourse.layers.config import scheme_of

    scheme_of(text)


def layouts() -> list[str]:
    """Names of WRITERS."""
    from qcourse.checkpoints.dialect_writers import WRITERS

    return list(WRITERS)


def kv_presets() -> list[str]:
    """Names of KV_PRESETS."""
    from qcourse.numerics.kv import KV_PRESETS

    return list(KV_PRESETS)


def check_kv(text: str) -> None:
    """Raise ValueError unless it is a preset of the KV cache, or "auto"."""
    from qcourse.numerics.kv import kv_args

    kv_args(text)


def gguf_types() -> list[str]:
    """Block types that are written."""
    from qcourse.checkpoints.gguf_types import GGML_TYPES

    return list(GGML_TYPES)


source.names, source.files = subjects, True
model = checked(openable, subjects)  # as it was written: a subject's name is more than its path
model.files = True
inspectable = checked(there, subjects)
inspectable.files = True
scheme = checked(check_scheme, schemes)
weights = checked(lambda text: None if text == "bf16" else check_scheme(text), lambda: ["bf16", *schemes()])
layout = one_of("layout", layouts)
kv_cache = checked(check_kv, kv_presets)
gguf_type = one_of("GGUF type", gguf_types)
