"""Bytes by part: they add up to the files, and are those that the format says."""

import pytest

from qcourse.models.export_gguf import export_gguf
from qcourse.models.loader import SHIPPED, load_model
from qcourse.packing.gguf import BLOCKS
from qcourse.study.file_parts import (
    CODES,
    EMBEDDING,
    HEADERS,
    LOOKS,
    NORMS,
    SCALES,
    ZEROS,
    bits_a_weight,
    block_parts,
    parts,
    stacked_parts,
)

WEIGHTS = 3_145_728  # in the shipped model's linear layers


def test_of_the_shipped_model():
    found = parts("shipped")
    assert sum(found.values()) == (SHIPPED / "model.safetensors").stat().st_size and list(found) == list(LOOKS)
    assert found[CODES] == 2 * WEIGHTS and found[EMBEDDING] == 2 * 2048 * 256 and found[NORMS] == 2 * 9 * 256
    assert 0 < found[HEADERS] < 5000 and bits_a_weight(found, WEIGHTS) == 16


@pytest.mark.parametrize(("kind", "bits"), [("Q4_1", 5), ("Q6_K", 6.5625)])
def test_of_a_gguf_file(tmp_path, kind, bits):
    export_gguf(load_model(), "shipped", tmp_path / "x.gguf", kind)
    found = parts(tmp_path / "x.gguf")
    assert sum(found.values()) == (tmp_path / "x.gguf").stat().st_size and bits_a_weight(found, WEIGHTS) == bits
    assert found[CODES] == WEIGHTS * int(kind[1]) // 8 and (found[ZEROS] > 0) == (kind == "Q4_1") and found[SCALES] > 0


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_block_is_its_parts(kind):
    block = BLOCKS[kind]
    assert sum(block_parts(kind, 3 * block.weights).values()) == 3 * block.bytes


def test_the_picture_says_its_numbers_and_leaves_out_what_no_file_has():
    row = dict.fromkeys(LOOKS, 0.0) | {CODES: 1.5, EMBEDDING: 0.25}
    alt = stacked_parts({"a": row}, "Title", "MB", {"a": "all"}).alt
    assert "1.5" in alt and "0.25" in alt and "zero points" not in alt
