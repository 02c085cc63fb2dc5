"""The loops in code for other processors: no vectors, AVX-512 VNNI, AVX-VNNI (AVX2: tests/gemm)."""

import pytest
from gemm.test_processors import PROCESSORS, obeys_the_law


@pytest.mark.parametrize("processor", sorted(PROCESSORS.keys() - {"haswell"}))
def test_every_kind_of_instruction_obeys_the_law(processor, tmp_path):
    obeys_the_law(processor, tmp_path)
