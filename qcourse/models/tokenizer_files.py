"""The tokenizer of a source: ours, somebody's `tokenizer.json`, or the one inside a GGUF file."""

from pathlib import Path

from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.gguf_file import GGUFFile
from qcourse.models.config import read_json
from qcourse.models.subjects import SHIPPED, source_of
from qcourse.models.tokenizer import Tokenizer


def load_tokenizer(source: Path | str = SHIPPED):
    """The tokenizer of a model folder, a .gguf file or a subject ("smollm2"): ours, or another through `tokenizers`.

    Raises CheckpointError when there is none.
    """
    source = source_of(source)
    if source.suffix == ".gguf":
        from qcourse.models.gguf_tokenizer import GGUFTokenizer

        return GGUFTokenizer(GGUFFile(source).metadata, source)
    path = source / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(f"{source}: no tokenizer.json")
    if Tokenizer.is_ours(path):
        return Tokenizer.load(path)
    from qcourse.models.foreign import ForeignTokenizer

    config = read_json(source / "config.json")
    bos, eos = (i if isinstance(i := config.get(key), int) else None for key in ("bos_token_id", "eos_token_id"))
    if bos is None and eos is None:
        raise CheckpointError(f"{source}/config.json: neither bos_token_id nor eos_token_id says how a text begins")
    return ForeignTokenizer(path, eos if bos is None else bos, eos)
