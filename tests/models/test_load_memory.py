"""Loading holds little more than what it keeps: a layer is repacked or quantized when it is read, some rows at once."""

import json
import subprocess
import sys

import pytest
import torch

from qcourse.layers.config import get_quantization_config
from qcourse.layers.linear import dequantize_layers, quantize_layers
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.loader import load_model, save_model

SCRIPT = """
import gc, json, sys, torch
import qcourse
from qcourse.models.loader import load_model
from qcourse.study.cost import storage_bytes

def memory(key):
    text = open("/proc/self/status").read()
    return int(text.split(key + ":")[1].split()[0]) * 1024

load_model(quantization="W4A16")(torch.zeros(1, 4, dtype=torch.long))  # whatever is imported and compiled for it
gc.collect()
open("/proc/self/clear_refs", "w").write("5")  # the peak begins here
before = memory("VmRSS")
model = load_model(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
print(json.dumps([memory("VmHWM") - before, storage_bytes(model)]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of 270 MB with SmolLM2's shapes."""
    sizes = {"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30}
    config = LlamaConfig(**sizes, num_attention_heads=9, num_key_value_heads=3, head_dim=64)
    model = LlamaForCausalLM(config)
    for p in model.parameters():
        p.data.fill_(0.01)
    path = tmp_path_factory.mktemp("large")
    save_model(model, path)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("quantization", "most"), [((), 1.3), (("W8A16",), 2.0), (("W4A16_G64",), 2.0)])
def test_the_peak_is_little_more_than_what_is_kept(folder, quantization, most):
    """Held as it is: 1.3 times. Quantized on the way in, freed memory that the allocator has not given back comes on top;
    with the whole model in 16 bits first it would be more than twice."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, folder, *quantization], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    peak, kept = json.loads(done.stdout)
    assert peak <= most * kept, f"{peak / kept:.2f} times {kept / 1e6:.0f} MB"


def test_again_is_the_same_as_from_16_bits():
    one, config = load_model(quantization="W8A16"), get_quantization_config("W4A16")
    two = quantize_layers(dequantize_layers(load_model(quantization="W8A16")), config)
    ids = torch.arange(8).unsqueeze(0)
    assert torch.equal(quantize_layers(one, config, again=True)(ids), two(ids))
    with pytest.raises(ValueError, match="already quantized"):
        quantize_layers(one, config)
