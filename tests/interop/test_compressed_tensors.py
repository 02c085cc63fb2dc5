"""compressed-tensors is the authority for scales, codes and packed words of the W4A16, W8A8 and FP8 presets."""

import pytest
import torch

ct = pytest.importorskip("compressed_tensors")

from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32, unpack_from_int32  # noqa: E402
from compressed_tensors.quantization import QuantizationArgs as TheirArgs  # noqa: E402
from compressed_tensors.quantization.lifecycle.forward import fake_quantize as their_fake_quantize  # noqa: E402
from compressed_tensors.quantization.utils import calculate_qparams  # noqa: E402

from qcourse.numerics.granularity import per_channel, per_group  # noqa: E402
from qcourse.numerics.grids import E4M3, IntGrid  # noqa: E402
from qcourse.numerics.quantize import fake_quantize, quantize  # noqa: E402
from qcourse.numerics.schemes import QuantizationArgs  # noqa: E402
from qcourse.packing import bits, layouts  # noqa: E402


@pytest.mark.parametrize("num_bits", [2, 3, 4, 8])
def test_packed_words_are_theirs(num_bits):
    q = torch.randint(-(1 << (num_bits - 1)), 1 << (num_bits - 1), (16, 128), dtype=torch.int8)
    ours = layouts.pack_compressed_tensors(bits.to_unsigned(q, num_bits), num_bits)
    theirs = pack_to_int32(q, num_bits, packed_dim=1)
    assert torch.equal(ours, theirs)
    assert torch.equal(unpack_from_int32(ours, num_bits, torch.Size([16, 128]), packed_dim=1), q)
    assert torch.equal(layouts.unpack_compressed_tensors(theirs, 128, num_bits), bits.to_unsigned(q, num_bits))


def test_packed_zero_points_are_theirs():
    z = torch.randint(-8, 8, (64, 3), dtype=torch.int8)
    ours = layouts.pack_compressed_tensors_zeros(bits.to_unsigned(z, 4))
    assert torch.equal(ours, pack_to_int32(z, 4, packed_dim=0))


CASES = [
    (QuantizationArgs(IntGrid(4), per_group(128), scale=torch.float32),
     {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 128}),
    (QuantizationArgs(IntGrid(8), per_channel, scale=torch.float32),
     {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}),
    (QuantizationArgs(E4M3, per_channel, scale=torch.float32),
     {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel"}),
]  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs"), CASES, ids=["W4A16", "INT8", "FP8"])
def test_scales_and_fake_quantization_are_theirs(ours, theirs):
    W = torch.randn(32, 512)
    args = TheirArgs(**theirs)
    blocks = ours.granularity.blocks(W)
    scale, zero = calculate_qparams(blocks.amin(-1), blocks.amax(-1), args)
    assert torch.equal(quantize(W, ours).scale, scale)
    assert torch.equal(fake_quantize(W, ours), their_fake_quantize(W, scale, zero, args))
