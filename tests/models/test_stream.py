"""`qcourse quantize`: a folder written block by block is the model that was quantized in memory, whatever interrupts it."""

import errno
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from qcourse.checkpoints import writer
from qcourse.checkpoints.compressed_tensors import rules
from qcourse.checkpoints.compressed_tensors_config import config_of, same_file, writable
from qcourse.cli import main
from qcourse.layers.config import get_quantization_config, regrouped, scheme_of
from qcourse.layers.fused import shared_peaks
from qcourse.layers.linear import quantize_layers
from qcourse.layers.sequential import quantize_model
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.loader import SHIPPED, load_model, load_tokenizer, save_model
from qcourse.models.stream import Method, quantize_to_folder
from qcourse.numerics.quantize import TWO_LEVEL
from qcourse.numerics.schemes import PRESETS
from qcourse.study.families import family, prepare

SIZES = {"vocab_size": 97, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 16}  # fmt: skip
W4 = regrouped(scheme_of("W4A16_ASYM"), 32)
GPTQ = Method((), "gptq")


def random_model(**sizes):
    torch.manual_seed(5)
    model = LlamaForCausalLM(LlamaConfig(**SIZES | sizes))
    for p in model.parameters():
        p.data.normal_(std=0.2)
    return model


def ids(n=9, T=64):
    return torch.randint(0, 97, (n, T), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    save_model(random_model(), folder)
    (folder / "generation_config.json").write_text('{"eos_token_id": 96}')
    return folder


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """One in which groups of 128 fit."""
    folder = tmp_path_factory.mktemp("wide")
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 1, "head_dim": 32}
    save_model(random_model(**sizes, tie_word_embeddings=False), folder)
    return folder


def quantize(source, out, scheme=W4, method=GPTQ, text=True, **more):
    return quantize_to_folder(source, out, scheme, method, ids() if text else None, progress=False, **more)


def files(folder: Path) -> dict[str, str]:
    """Every file's digest, the report's seconds left out."""
    found = {p.name: p.read_bytes() for p in folder.iterdir()}
    report = json.loads(found["quantization_report.json"])
    for part in (report["totals"], *report["layers"]):
        del part["seconds"]
    found["quantization_report.json"] = json.dumps(report).encode()
    return {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}


def same_weights(a, b):
    pairs = zip(a.linears().values(), b.linears().values(), strict=True)
    return all(torch.equal(x.dequantized(), y.dequantized()) for x, y in pairs)


@pytest.mark.parametrize("quantizer", ["rtn", "hqq", "imatrix", "gptq"])
@pytest.mark.parametrize("sequential", [True, False])
def test_the_folder_is_the_model_quantized_in_memory(source, tmp_path, quantizer, sequential):
    quantize(source, tmp_path / "out", method=Method((), quantizer, sequential=sequential))
    found, wanted = load_model(tmp_path / "out"), load_model(source)
    quantize_model(wanted, ids(), get_quantization_config(W4), quantizer, sequential=sequential)
    assert torch.equal(found(ids()), wanted(ids())) and same_weights(found, wanted)


@pytest.mark.parametrize(
    "name", ["W4A16_G32+awq", "W4A16_G32+smoothquant@0.7", "W4A16_G32+rotation", "FP8", "W8A8_STATIC+awq", "NVFP4A16+gptq"]
)
def test_transforms_and_static_scales_are_those_of_the_whole_model(source, tmp_path, name):
    """The same codes; where a transform moved factors into norms, those are rounded to bf16 in the file (2^-9)."""
    wanted = family(name)
    quantize(source, tmp_path / "out", wanted.scheme, Method(wanted.transforms, wanted.quantizer or "rtn", wanted.alpha))
    found, kept = load_model(tmp_path / "out"), prepare(source, name, ids())
    assert same_weights(found, kept)
    limit = 0.02 * kept(ids()).std() if "awq" in name or "smooth" in name else 1e-5
    if wanted.static:
        for x, y in zip(found.linears().values(), kept.linears().values(), strict=True):
            torch.testing.assert_close(x.product.input_scale, y.product.input_scale, rtol=2**-7, atol=0)
    if name == "W8A8_STATIC+awq":  # one code more or less of x is more than what the norms lost
        return
    assert (found(ids()) - kept(ids())).abs().max() <= limit


def test_transforms_pay_off_in_front_of_gptq(source, tmp_path):
    """(A rotation of random weights gains nothing; it has to be the same function.)"""
    exact = load_model(source)(ids())
    for i, transforms in enumerate((("rotation",), ("rotation", "awq"), ("smoothquant",))):
        quantize(source, tmp_path / str(i), scheme_of("W8A16"), Method(transforms, "gptq"))
        assert (load_model(tmp_path / str(i))(ids()) - exact).abs().max() < 0.1 * exact.std(), transforms


def test_every_scheme_that_can_be_written_comes_back():
    for name in writable():
        read = rules(config_of(PRESETS[name], ("lm_head", "re:.*gate")), name)
        assert [r.pattern for r in read] == ["lm_head", "re:.*gate", "Linear"]
        assert same_file(read[-1].scheme.weights, PRESETS[name].weights), name
        assert read[-1].scheme.input_activations == PRESETS[name].input_activations, name
    assert len(writable()) > 25


@pytest.mark.parametrize("name", sorted(PRESETS.keys() - set(writable())))
def test_others_are_refused_by_name_with_those_that_work(name):
    with pytest.raises(ValueError, match="schemes that can be written: W8A16, .*NVFP4A16"):
        config_of(PRESETS[name])


def shared(folder, scheme):
    """The weights in memory, those that engines multiply as one under one number."""
    model = load_model(folder)
    config = get_quantization_config(replace(scheme, input_activations=None))
    quantize_layers(model, replace(config, quantizer=shared_peaks(model.fused())))
    return model


@pytest.mark.parametrize("name", writable())
def test_every_one_of_them_is_written_and_loads(wide, tmp_path, name):
    scheme = PRESETS[name]
    static = scheme.input_activations is not None and scheme.input_activations.calibrated
    report = quantize(wide, tmp_path / "out", scheme, Method(), text=static)
    model, config = load_model(tmp_path / "out"), json.loads((tmp_path / "out" / "config.json").read_text())
    in_memory = shared(wide, scheme) if scheme.weights.scaling in TWO_LEVEL else prepare(wide, name, ids())
    assert same_weights(model, in_memory) and torch.isfinite(model(ids())).all()
    assert config["quantization_config"]["ignore"] == ["lm_head"] and "weight" in dict(model.lm_head.named_parameters())
    stored = load_file(tmp_path / "out" / "model-00002-of-00002.safetensors")
    assert sum(n.endswith(("input_scale", "input_global_scale")) for n in stored) == 7 * static
    above = {n.split(".")[-2]: t.item() for n, t in stored.items() if n.endswith("weight_global_scale")}
    for group in (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")):  # what engines multiply as one has one number
        assert not above or len({above[layer] for layer in group}) == 1
    sizes = [t.nbytes for n, t in stored.items() if "proj" in n]
    assert sum(sizes) * 8 / report["totals"]["weights"] == pytest.approx(report["totals"]["bits_in_file"])


def test_the_writer_writes_what_the_reference_library_writes(tmp_path):
    tensors = {"é": torch.randn(3, 4).bfloat16(), "b": torch.arange(5), "c": torch.randn(4, 4).to(torch.float8_e4m3fn),
               "d": torch.zeros(3, dtype=torch.int8), "e": torch.randn(2), "f": torch.randn(2).half(), "": torch.empty(0),
               "g": torch.tensor(3, dtype=torch.int32), "h": torch.zeros(2, 2, dtype=torch.uint8)}  # fmt: skip
    size = writer.write_tensors(tmp_path / "ours", tensors)
    save_file(tensors, tmp_path / "theirs", metadata={"format": "pt"})
    ours = (tmp_path / "ours").read_bytes()
    assert ours == (tmp_path / "theirs").read_bytes() and size == len(ours)
    with pytest.raises(ValueError, match="'x' is torch.complex128"):
        writer.write_tensors(tmp_path / "no", {"x": torch.zeros(1, dtype=torch.complex128)})


class Killed(BaseException):
    """Stands for a kill: nobody catches it."""


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    """The files of uninterrupted runs."""
    root = tmp_path_factory.mktemp("whole")
    for method in METHODS:
        quantize(source, root / str(method.transforms), method=method)
    return {method: files(root / str(method.transforms)) for method in METHODS}


METHODS = (GPTQ, Method(("rotation", "awq"), "gptq"))  # the second needs the states of the 16-bit model, too


@pytest.mark.parametrize(
    ("method", "moment", "after"),
    [(GPTQ, n, after) for n, after in ((1, False), (3, True), (6, False), (7, True), (9, False), (12, True))]
    + [(METHODS[1], 4, True), (METHODS[1], 8, False)],
    ids=str,
)
def test_whatever_the_moment_the_bytes_are_the_same(source, tmp_path, monkeypatch, whole, method, moment, after):
    """moment: of the n-th file, before or after it gets its name."""
    count, replace = [0], Path.replace

    def killing(path, target):
        count[0] += 1
        if count[0] == moment and not after:
            raise Killed
        replace(path, target)
        if count[0] == moment:
            raise Killed

    monkeypatch.setattr(Path, "replace", killing)
    with pytest.raises(Killed):
        quantize(source, tmp_path / "out", method=method)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["out.part"]
    quantize(source, tmp_path / "out", method=method)
    assert files(tmp_path / "out") == whole[method]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


SCRIPT = """
import os, signal, sys, torch
from pathlib import Path
from qcourse.layers.config import regrouped, scheme_of
from qcourse.models.stream import Method, quantize_to_folder

replace, (source, out, ids, shard, threads) = Path.replace, sys.argv[1:]
torch.set_num_threads(int(threads))  # as in the tests: the order of sums

def killing(path, target):
    if Path(target).name.startswith(shard):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(path, target)

Path.replace = killing
scheme = regrouped(scheme_of("W4A16_ASYM"), 32)
quantize_to_folder(source, Path(out), scheme, Method((), "gptq"), torch.load(ids), progress=False)
"""


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_kill_9_and_the_same_command_again(source, tmp_path, whole):
    """Twice, in the middle of two shards. The source is what it was, byte for byte."""
    torch.save(ids(), tmp_path / "ids")
    before = {p: p.read_bytes() for p in source.iterdir()}
    for shard in ("model-00002", "model-00004"):
        paths = [source, tmp_path / "out", tmp_path / "ids"]
        command = [sys.executable, "-c", SCRIPT, *paths, shard, str(torch.get_num_threads())]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
        assert not (tmp_path / "out").exists() and not list((tmp_path / "out.part").glob(f"{shard}*s"))
    quantize(source, tmp_path / "out")
    assert files(tmp_path / "out") == whole[GPTQ]
    assert before == {p: p.read_bytes() for p in source.iterdir()}


def killed(source, out, monkeypatch, shard="model-00003"):
    """A run that was killed in the middle of a shard."""
    replace = Path.replace

    def killing(path, target):
        if target.name.startswith(shard):
            raise Killed
        replace(path, target)

    with monkeypatch.context() as m, pytest.raises(Killed):
        m.setattr(Path, "replace", killing)
        quantize(source, out)


def test_another_command_under_the_same_name_is_refused(source, wide, tmp_path, monkeypatch):
    out = tmp_path / "out"
    killed(source, out, monkeypatch)
    other = Method((), "gptq", sequential=False)
    for change in ({"scheme": regrouped(W4, 16)}, {"method": other}, {"settings": {"windows": 3}}):
        with pytest.raises(ValueError, match=f"other settings .*: remove {out}.part, or choose another --out"):
            quantize(source, out, **change)
    with pytest.raises(ValueError, match="other settings .source_sha256 was"):
        quantize(wide, out)
    with pytest.raises(ValueError, match="other settings .calibration_sha256 was"):
        quantize_to_folder(source, out, W4, GPTQ, ids() + 1 - ids().gt(90).long(), progress=False)
    (out.with_name("out.part") / "quantization_report.json").write_text("[]")
    with pytest.raises(ValueError, match="cannot be read: remove"):
        quantize(source, out)


def test_nothing_is_kept_of_a_run_that_had_no_block(source, tmp_path, monkeypatch):
    killed(source, tmp_path / "out", monkeypatch, "model-00002")
    quantize(source, tmp_path / "out", regrouped(W4, 16))


def test_a_shard_that_lost_bytes_is_made_again(source, tmp_path, monkeypatch, whole):
    killed(source, tmp_path / "out", monkeypatch, "model-00004")
    shard = tmp_path / "out.part" / "model-00002-of-00004.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    quantize(source, tmp_path / "out")
    assert files(tmp_path / "out") == whole[GPTQ]


def test_a_full_disk_is_one_line_and_what_is_done_stays(source, tmp_path, monkeypatch, whole):
    count, fsync = [0], os.fsync

    def full(fd):
        count[0] += 1
        if count[0] == 9:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left .* what is done stays in .*out.part: the same command goes on"):
        quantize(source, tmp_path / "out")
    quantize(source, tmp_path / "out")
    assert files(tmp_path / "out") == whole[GPTQ]


def test_two_at_once_are_refused(source, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / "out.part").mkdir()
    fd = os.open(tmp_path / "out.part", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(ValueError, match="another run is writing there"):
        quantize(source, tmp_path / "out")
    os.close(fd)
    quantize(source, tmp_path / "out")


def test_the_report(source, tmp_path):
    report = quantize(source, tmp_path / "out", settings={"scheme": "W4A16_ASYM"})
    assert report == json.loads((tmp_path / "out" / "quantization_report.json").read_text())
    assert report["settings"]["scheme"] == "W4A16_ASYM" and report["settings"]["device"] == "cpu"
    names = list(load_model(source).linears())
    assert [x["name"] for x in report["layers"]] == names and report["layers"][0]["shape"] == [64, 64]
    for x in report["layers"]:
        assert 0 < x["error"] < 1 and x["seconds"] >= 0 and x["bits"] == 4 + 20 / 32 and x["notes"] == []
        assert x["bits"] < x["bits_in_file"] < 4.7  # and two int64 that say the shape
    totals = report["totals"]
    assert totals["weights"] == sum(x["shape"][0] * x["shape"][1] for x in report["layers"])
    shards = list((tmp_path / "out").glob("*.safetensors"))
    assert totals["bytes_after"] == sum(p.stat().st_size for p in shards) < totals["bytes_before"]
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text()) == {"eos_token_id": 96}


def test_notes_say_what_was_done_to_a_layers_input(source, tmp_path):
    tensors = load_file(source / "model.safetensors")
    tensors["model.layers.1.input_layernorm.weight"][3] = 0
    report = quantize(changed(source, tmp_path, tensors), tmp_path / "out")
    notes = {x["name"]: x["notes"] for x in report["layers"] if x["notes"]}
    assert notes.keys() == {f"model.layers.1.self_attn.{p}_proj" for p in "qkv"}
    assert notes["model.layers.1.self_attn.q_proj"] == ["1 dead channels (first: 3) are rounded to nearest"]


def changed(source, tmp_path, tensors):
    """A copy of the source with other tensors."""
    folder = tmp_path / "changed"
    folder.mkdir()
    (folder / "config.json").write_bytes((source / "config.json").read_bytes())
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_nan_names_the_tensor_and_a_loud_layer_the_one_that_hears_it(source, tmp_path):
    tensors = load_file(source / "model.safetensors")
    name = "model.layers.2.mlp.up_proj.weight"
    folder = changed(source, tmp_path, tensors | {name: tensors[name].float().fill_(torch.nan).bfloat16()})
    with pytest.raises(ValueError, match=f"{name} holds NaN or inf"):
        quantize(folder, tmp_path / "out")
    loud = {"model.layers.0.mlp.down_proj.weight": torch.full((64, 128), 3e38).bfloat16()}
    save_file(tensors | loud, folder / "model.safetensors")
    with pytest.raises(ValueError, match="model.layers.1.self_attn.q_proj: calibration input holds NaN or inf"):
        quantize(folder, tmp_path / "other")


def test_a_source_in_fp32_and_one_with_biases(source, tmp_path):
    model = random_model(attention_bias=True, output_bias=True)
    save_model(model, tmp_path / "biased")
    tensors = {n: t.float() for n, t in load_file(tmp_path / "biased" / "model.safetensors").items()}
    save_file(tensors, tmp_path / "biased" / "model.safetensors")
    config = json.loads((tmp_path / "biased" / "config.json").read_text()) | {"torch_dtype": "float32"}
    (tmp_path / "biased" / "config.json").write_text(json.dumps(config))
    quantize(tmp_path / "biased", tmp_path / "out", scheme_of("W8A16"), Method(("awq",), "gptq"))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    found, exact = load_model(tmp_path / "out"), load_model(tmp_path / "biased")
    assert found.model.layers[1].self_attn.q_proj.bias.dtype == torch.bfloat16
    assert (found(ids()) - exact(ids())).abs().max() < 0.1 * exact(ids()).std()


def test_a_source_that_is_quantized_already(source, tmp_path):
    quantize(source, tmp_path / "eight", scheme_of("W8A16"))
    with pytest.raises(ValueError, match="quantized already; .* --dequantize"):
        quantize(tmp_path / "eight", tmp_path / "out")
    quantize(tmp_path / "eight", tmp_path / "out", dequantize=True)
    wanted = load_model(tmp_path / "eight", "bf16", dequantize=True)
    quantize_model(wanted, ids(), get_quantization_config(W4), "gptq")
    assert torch.equal(load_model(tmp_path / "out")(ids()), wanted(ids()))


GGUF = Path(__file__).parent.parent / "checkpoints" / "files" / "gguf_gpt2" / "model.gguf"


def test_a_gguf_file_becomes_a_folder_with_its_tokenizer(tmp_path):
    quantize(GGUF, tmp_path / "out", W4, Method(), text=False, dequantize=True)
    theirs, ours = load_tokenizer(GGUF), load_tokenizer(tmp_path / "out")
    text = "def f(x):\n    return x + 1  # hello"
    assert theirs.encode(text) == ours.encode(text) and theirs.eos_id == ours.eos_id and theirs.bos_id == ours.bos_id
    assert same_weights(load_model(tmp_path / "out"), load_model(GGUF, get_quantization_config(W4), dequantize=True))
    assert load_model(tmp_path / "out").config == load_model(GGUF).config


MEMORY = """
import gc, json, sys, torch
from pathlib import Path
from qcourse.layers.config import scheme_of
from qcourse.models.stream import Method, quantize_to_folder

def memory(key):
    return int(open("/proc/self/status").read().split(key + ":")[1].split()[0]) * 1024

def run(source, out):
    ids = torch.arange(8 * 128).view(8, 128) % 97
    quantize_to_folder(source, Path(out), scheme_of("W8A16"), Method(("smoothquant",), "imatrix"), ids, progress=False)

def peak(source, out):
    gc.collect()
    open("/proc/self/clear_refs", "w").write("5")  # it begins here
    before = memory("VmRSS")
    run(source, out)
    return memory("VmHWM") - before

few, many, out = sys.argv[1:]
run(few, out + "/first")  # whatever is imported and compiled for it
print(json.dumps([peak(few, out + "/second"), peak(many, out + "/third")]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_number_of_blocks(tmp_path):
    """Ten times as many blocks, 58 MB more of weights: the peak is higher by less than a third of that."""
    weights = []
    for name, blocks in (("few", 4), ("many", 40)):
        sizes = {"hidden_size": 256, "intermediate_size": 800, "num_hidden_layers": blocks, "head_dim": 64}
        with torch.device("meta"):
            model = LlamaForCausalLM(LlamaConfig(**SIZES | sizes))
        model = model.to_empty(device="cpu")
        for p in model.parameters():
            p.data.fill_(0.01)
        save_model(model, tmp_path / name)
        weights.append((tmp_path / name / "model.safetensors").stat().st_size)
    command = [sys.executable, "-c", MEMORY, tmp_path / "few", tmp_path / "many", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    few, many = json.loads(done.stdout)
    assert weights[1] - weights[0] > 55e6 and many - few < (weights[1] - weights[0]) / 3, (few, many)


def test_the_report_says_why_a_search_changed_nothing(tmp_path):
    model, ids = random_model(), torch.randint(0, 90, (8, 80))
    model.model.layers[1].mlp.down_proj.weight.data.zero_()  # no factor makes nothing better than nothing
    save_model(model, tmp_path / "model")
    scheme, method = scheme_of("W8A16"), Method(("awq",))
    report = quantize_to_folder(tmp_path / "model", tmp_path / "out", scheme, method, ids, progress=False)
    said = {layer["name"]: layer["notes"] for layer in report["layers"] if layer["notes"]}
    assert said["model.layers.1.mlp.down_proj"] == ["awq: no α of 0.05, 0.1 … 0.95 has a smaller output error than α = 0"]


def test_the_command_on_the_shipped_model(tmp_path, capsys):
    short = ["--windows", "4", "--seq-len", "128"]
    main(["quantize", "shipped", "--scheme", "W4A16", "--group-size", "64", "--out", str(tmp_path / "out"), *short])
    said = capsys.readouterr().out
    assert "28 layers" in said and "| model.layers." in said and "bits a weight" in said
    report = json.loads((tmp_path / "out" / "quantization_report.json").read_text())
    assert report["settings"]["windows"] == 4 and report["settings"]["method_name"] == "gptq"
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (SHIPPED / "tokenizer.json").read_bytes()
    tokens = torch.tensor([load_tokenizer(tmp_path / "out").encode("import os\n", bos=True)])
    assert torch.isfinite(load_model(tmp_path / "out")(tokens)).all()


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    root = tmp_path_factory.mktemp("texts")
    (root / "short.txt").write_text("a few words")
    (root / "long.txt").write_text("import os\nprint(os.name)\n" * 400)
    (root / "binary").write_bytes(bytes(range(256)))
    (root / "there").mkdir()
    save_model(random_model(vocab_size=2048, hidden_size=96, intermediate_size=288, num_hidden_layers=1), root / "odd")
    load_tokenizer().save(root / "odd" / "tokenizer.json")
    return root


REFUSED = {
    "shipped --scheme W5A99": "unknown quantization scheme 'W5A99'",
    "shipped --scheme W4A4": "schemes that can be written: W8A16",
    "shipped --scheme Q4_K": "schemes that can be written: W8A16",
    "shipped --scheme W4A16 --method gbtq": "unknown method 'gbtq'",
    "shipped --scheme W4A16 --method online+gptq": "'online' cannot be written into a folder",
    "shipped --scheme W4A16 --method awq+rotation": "rotation comes first",
    "shipped --scheme W4A16 --method smoothquant@7": "a number between 0 and 1",
    "shipped --scheme W8A16 --group-size 64": "W8A16 has no groups",
    "shipped --scheme W4A16 --group-size 100": "does not divide K=256.*--group-size 128",
    "{t}/odd --scheme W4A16": "does not divide K=96.*--group-size 32",
    "shipped --scheme NVFP4A16 --group-size 32": "schemes that can be written|holds",
    "{t}/nowhere --scheme W4A16": "nowhere: no such folder or file",
    "{t}/there --scheme W4A16": "no such file",
    "shipped --scheme W4A16 --out {t}/there": "exists: choose another --out",
    "shipped --scheme W4A16 --out {t}/long.txt": "exists: choose another --out",
    "shipped --scheme W4A16 --out {t}/long.txt/below": "long.txt",
    "shipped --scheme W4A16 --windows 0": "a whole number above 0",
    "shipped --scheme W4A16 --windows 100000": "no overlap",
    "shipped --scheme W4A16 --seq-len 5000": "the model has 1024 positions",
    "shipped --scheme W4A16 --windows 2 --seq-len 8": "at least 512 needed",
    "shipped --scheme W4A16 --calibration {t}/short.txt": "fewer --windows",
    "shipped --scheme W4A16 --calibration {t}/nowhere.txt": "nowhere.txt: no such file",
    "shipped --scheme W4A16 --calibration {t}/binary": "not UTF-8",
    "shipped --scheme W4A16 --calibration {t}/long.txt --seq-len 2000": "the model has 1024 positions",
    "shipped --scheme W4A16 --method hqq": "HQQ finds zero points",
    "shipped --scheme NVFP4A16 --method imatrix": "no weighted search",
}


@pytest.mark.parametrize("command", REFUSED)
def test_nonsense_is_one_line(texts, tmp_path, capsys, command):
    words = [w.format(t=texts) for w in command.split()]
    out = [] if "--out" in words else ["--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as e:
        main(["quantize", *words, *out, "--quiet"])
    said = capsys.readouterr().err
    assert e.value.code in (1, 2) and said.count("\n") == 1 and "Traceback" not in said
    assert re.search(REFUSED[command], said), said
    assert not list(tmp_path.iterdir())


def test_no_cuda_here(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        main(["quantize", "shipped", "--scheme", "W4A16", "--device", "cuda", "--out", str(tmp_path / "out")])
    assert "torch sees no CUDA device" in capsys.readouterr().err


def test_a_text_of_ones_own_and_json(texts, tmp_path, capsys):
    more = ["--calibration", str(texts / "long.txt"), "--windows", "8", "--seq-len", "64", "--json", "--quiet"]
    main(["quantize", str(texts / "odd"), "--scheme", "W4A16_G32", "--out", str(tmp_path / "out"), *more])
    report = json.loads(capsys.readouterr().out)
    assert report["settings"]["calibration_sha256"] and len(report["layers"]) == 7
    with pytest.raises(ValueError, match="quantized already"):
        load_model(tmp_path / "out", "W8A16")


@pytest.mark.parametrize(
    ("layout", "scheme"),
    [("gptq", "W4A16_G32"), ("gptq_v2", "W4"), ("awq", "W4A16_G32"), ("modelopt", "NVFP4A16"), ("torchao", "W8A8")],
)
def test_other_ecosystems_folders_hold_the_same_values(layout, scheme, tmp_path):
    """GPTQ's codes, calibrated on what the file itself holds, are those of compressed-tensors in every layout."""
    save_model(random_model(), tmp_path / "source")
    for name in ("compressed-tensors", layout):
        recipe = W4 if scheme == "W4" else scheme_of(scheme)
        quantize_to_folder(tmp_path / "source", tmp_path / name, recipe, GPTQ, ids(), layout=name, progress=False)
    a, b = (load_model(tmp_path / name).linears() for name in ("compressed-tensors", layout))
    near = 2**-22 if layout == "modelopt" else 0
    for name, layer in a.items():
        torch.testing.assert_close(b[name].dequantized(), layer.dequantized(), rtol=near, atol=0)


def test_what_a_layout_has_no_words_for_is_said_before(tmp_path):
    cases = {("awq", None): "awq holds integers of 4 bits", ("x", None): "unknown layout 'x'",
             ("gptq", "fp8_e4m3"): "in compressed-tensors folders only, not in gptq"}  # fmt: skip
    for (layout, kv), said in cases.items():
        with pytest.raises(ValueError, match=said):
            quantize_to_folder(SHIPPED, tmp_path / "out", scheme_of("W8A16"), Method(), layout=layout, kv_cache=kv)
        assert not list(tmp_path.iterdir())
