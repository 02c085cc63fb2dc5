"""The blocks of GGUF: any bytes come apart and together again; where each bit goes is checked one bit at a time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qcourse.checkpoints.gguf_types import GGML_TYPES
from qcourse.packing.gguf import BLOCKS, Blocks, join, split


def random_rows(kind, N=5, blocks=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (N, blocks * BLOCKS[kind].bytes), dtype=torch.uint8, generator=generator)


def parts(blocks):
    return {k: v for k, v in vars(blocks).items() if v is not None}


@pytest.mark.parametrize("kind", BLOCKS)
@given(data=st.data())
def test_any_bytes_come_back(kind, data):
    N, blocks = data.draw(st.integers(0, 3)), data.draw(st.integers(1, 3))
    size = N * blocks * BLOCKS[kind].bytes
    raw = torch.tensor(list(data.draw(st.binary(min_size=size, max_size=size))), dtype=torch.uint8).reshape(
        N, -1 if N else blocks * BLOCKS[kind].bytes
    )
    assert torch.equal(join(split(raw, kind), kind), raw)


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_hundred_thousand_blocks_come_back(kind):
    raw = random_rows(kind, N=1000, blocks=100, seed=1)
    assert torch.equal(join(split(raw, kind), kind), raw)


@pytest.mark.parametrize("kind", BLOCKS)
def test_every_single_bit_is_one_bit_of_one_part(kind):
    """Flip each bit of a block in turn: exactly one number of one part changes, and by a power of two."""
    size = BLOCKS[kind].bytes
    raw = torch.eye(8 * size, dtype=torch.uint8).unflatten(-1, (size, 8))
    raw = (raw << torch.arange(8, dtype=torch.uint8)).sum(-1, dtype=torch.uint8)  # row i: bit i alone
    zero, ones = parts(split(torch.zeros(1, size, dtype=torch.uint8), kind)), parts(split(raw, kind))
    seen, changed = set(), torch.zeros(8 * size, dtype=torch.long)
    for name, one in ones.items():
        bits = one.contiguous().view(torch.int16 if one.dtype == torch.float16 else torch.uint8).long()
        base = zero[name].contiguous().view(torch.int16 if one.dtype == torch.float16 else torch.uint8).long()
        differs = bits != base
        changed += differs.sum(-1)
        step = ((bits - base) & (0xFFFF if one.dtype == torch.float16 else 0xFF))[differs]
        assert ((step & (step - 1)) == 0).all()
        seen |= {(name, column, s) for (_, column), s in zip(differs.nonzero().tolist(), step.tolist(), strict=True)}
    assert (changed == 1).all() and len(seen) == 8 * size


def test_shapes_types_and_the_container_agree():
    subs = {"Q2_K": 16, "Q3_K": 16, "Q4_K": 8, "Q5_K": 8, "Q6_K": 16}
    for kind, block in BLOCKS.items():
        assert GGML_TYPES[kind][1:] == (block.weights, block.bytes)
        b = split(random_rows(kind, 2, 3), kind)
        assert b.codes.shape == (2, 3 * block.weights) and b.d.shape == (2, 3) and b.d.dtype == torch.float16
        assert b.codes.dtype == (torch.uint8 if block.offset is None else torch.int8)
        assert (b.m is not None) == (kind in ("Q4_1", "Q5_1", "Q2_K", "Q4_K", "Q5_K"))
        assert (b.mins is not None) == (kind in ("Q2_K", "Q4_K", "Q5_K"))
        assert (None if b.scales is None else b.scales.shape) == ((2, 3 * subs[kind]) if kind in subs else None)


def test_codes_fill_their_range():
    low = {"Q4_0": -8, "Q5_0": -16, "Q8_0": -128, "Q3_K": -4, "Q6_K": -32}
    bits = {
        "Q4_0": 4,
        "Q4_1": 4,
        "Q5_0": 5,
        "Q5_1": 5,
        "Q8_0": 8,
        "IQ4_NL": 4,
        "Q2_K": 2,
        "Q3_K": 3,
        "Q4_K": 4,
        "Q5_K": 5,
        "Q6_K": 6,
    }
    for kind in BLOCKS:
        codes = split(random_rows(kind, 50, 10), kind).codes.long()
        start = low.get(kind, 0)
        assert (codes.min(), codes.max()) == (start, start + 2 ** bits[kind] - 1)
    for kind, (start, end) in {
        "Q2_K": (0, 15),
        "Q3_K": (-32, 31),
        "Q4_K": (0, 63),
        "Q5_K": (0, 63),
        "Q6_K": (-128, 127),
    }.items():
        b = split(random_rows(kind, 50, 10), kind)
        for subs in (b.scales, b.mins):
            assert subs is None or (subs.min(), subs.max()) == (start, end)


def test_a_nan_keeps_its_bits():
    """A float16 that is a signalling NaN would be made quiet by a detour through float32."""
    raw = random_rows("Q4_1", 1, 1)
    raw[0, :4] = torch.tensor([0x01, 0x7C, 0x01, 0xFC])
    b = split(raw, "Q4_1")
    assert b.d.isnan().all() and b.m.isnan().all() and torch.equal(join(b, "Q4_1"), raw)


def test_errors():
    with pytest.raises(ValueError, match="known are Q4_0"):
        split(random_rows("Q4_0"), "IQ1_S")
    with pytest.raises(ValueError, match="19 bytes in a row: Q4_0 has blocks of 18"):
        split(torch.zeros(1, 19, dtype=torch.uint8), "Q4_0")
    b = split(random_rows("Q4_K", 1, 2), "Q4_K")
    with pytest.raises(ValueError, match="Q4_K: m is None, expected"):
        join(Blocks(b.codes, b.d, None, b.scales, b.mins), "Q4_K")
    with pytest.raises(ValueError, match="Q4_K: d is"):
        join(Blocks(b.codes, b.d[:, :1], b.m, b.scales, b.mins), "Q4_K")
