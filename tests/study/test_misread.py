"""Wrong readers: what they make of a right file is what they make of a file that lies, and the model is whole afterwards."""

import json

import pytest
import torch

from qcourse.models.convert_folder import convert
from qcourse.models.loader import load_model
from qcourse.numerics.quantize import fake_quantize
from qcourse.numerics.schemes import PRESETS
from qcourse.study.experiments import EXPERIMENTS
from qcourse.study.misread import CALLED, LAYOUTS, files, misreadings, other_order, read_as, zeros_read

ASYM = PRESETS["W4A16_ASYM"]
NAME = "model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def model():
    return load_model().float()


def test_a_reader_that_is_right_sees_the_rounded_weight(model):
    W = model.linears()[NAME].weight.data
    assert torch.allclose(zeros_read(W, ASYM.weights, lambda z: z), fake_quantize(W, ASYM.weights).float())
    with pytest.raises(ValueError, match="no zero points"):
        zeros_read(W, PRESETS["W4A16"].weights, lambda z: z)


@pytest.mark.parametrize(("written", "said", "case"), [("gptq", "gptq_v2", "version 1 read as 2"),
                                                       ("gptq_v2", "gptq", "version 2 read as 1")])  # fmt: skip
def test_it_is_what_the_loader_makes_of_a_file_that_lies(tmp_path, seven, model, written, said, case):
    convert(seven["compressed-tensors"], tmp_path / "lie", written, progress=False)
    config = json.loads((tmp_path / "lie" / "config.json").read_text())
    config["quantization_config"] |= {"checkpoint_format": said, "format": said}
    (tmp_path / "lie" / "config.json").write_text(json.dumps(config))
    lied = load_model(tmp_path / "lie").linears()
    with read_as(model, misreadings(model, ASYM.weights)[case]):
        for name, layer in model.linears().items():
            assert torch.allclose(layer.weight, lied[name].dequantized().float(), atol=1e-6), name


def test_only_q_and_k_are_reordered_and_all_is_as_before_afterwards(model):
    before = {name: m.weight.data for name, m in model.linears().items()}
    change = other_order(model)
    assert {name.rpartition(".")[2] for name in change} == {"q_proj", "k_proj"} and len(change) == 8
    with read_as(model, change):
        W = model.linears()[NAME].weight.data
        assert (
            not torch.equal(W, before[NAME]) and torch.equal(W[2], before[NAME][1]) and torch.equal(W[1], before[NAME][32])
        )
    assert all(m.weight.data_ptr() == before[name].data_ptr() for name, m in model.linears().items())


def test_the_experiment_leaves_out_what_is_done_and_names_what_the_figures_call():
    full = EXPERIMENTS["files"].full
    done = dict.fromkeys([*CALLED, "its own file", "W4A16_ASYM", "version 2 read as 1", "version 1 read as 2",
                          "zero points not seen"])  # fmt: skip
    left = dict(files("shipped", done, n=2, seq_len=32, scheme="W4A16_ASYM"))
    assert list(left) == ["Q and K not put back"] and left["Q and K not put back"]["added_bits_per_byte"] > 0.1
    assert set(LAYOUTS) < set(CALLED) and full["scheme"].startswith("W4A16_ASYM")
