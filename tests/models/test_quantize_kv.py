"""`qcourse quantize --kv-cache`: the folder brings the cache's scales along, those of the model that it holds."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from qcourse.cli import main
from qcourse.layers.config import regrouped, scheme_of
from qcourse.layers.kv_method import SCALES
from qcourse.layers.sequential import BATCH
from qcourse.models.kv_cache import KVCache
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.loader import load_model, save_model
from qcourse.models.stream import Method, quantize_to_folder
from qcourse.numerics.kv import KV_PRESETS

SIZES = {"vocab_size": 97, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 16}  # fmt: skip
W4 = regrouped(scheme_of("W4A16_ASYM"), 32)
IDS = torch.randint(0, 97, (9, 64), generator=torch.Generator().manual_seed(1))
CASES = [
    (Method(), "fp8_e4m3"), (Method((), "gptq"), "fp8_e4m3_per_head"),
    (Method((), "gptq", sequential=False), "fp8_e4m3"), (Method(("rotation", "awq"), "rtn"), "fp8_e4m3_per_head"),
]  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    torch.manual_seed(5)
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    for p in model.parameters():
        p.data.normal_(std=0.2)
    save_model(model, folder)
    return folder


def quantize(source, out, method=CASES[0][0], kv="fp8_e4m3", ids=IDS, **more):
    return quantize_to_folder(source, out, W4, method, ids, kv_cache=kv, progress=False, **more)


@torch.inference_mode()
def loudest(model, per_head: bool) -> dict[str, torch.Tensor]:
    """The scales of a model by way of a plain cache, which keeps all keys and values."""
    caches = []
    for part in IDS.split(BATCH):
        caches.append(KVCache(model.config, len(part), part.shape[1]))
        model(part, caches[-1])
    found = {}
    for i, prefix in enumerate(model.attentions()):
        for name, letter in zip(SCALES, "kv", strict=True):
            heads = torch.stack([getattr(c, letter)[i].abs().amax((0, 2, 3)) for c in caches]).amax(0)
            found[f"{prefix}.{name}"] = (heads if per_head else heads.amax().reshape(1)) / 448
    return found


def files(folder: Path) -> dict[str, str]:
    """Every file's digest, but the report's seconds."""
    found = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    found.pop("quantization_report.json")
    return found


@pytest.mark.parametrize(("method", "kv"), CASES, ids=str)
def test_the_scales_are_those_of_the_written_model(source, tmp_path, method, kv):
    quantize(source, tmp_path / "out", method, kv)
    model = load_model(tmp_path / "out")
    assert model.kv_cache == KV_PRESETS[kv]
    wanted = loudest(model, model.kv_cache.per_head)
    for prefix, layer in model.attentions().items():
        for name in SCALES:
            torch.testing.assert_close(getattr(layer, name), wanted[f"{prefix}.{name}"], rtol=1e-5, atol=0)


@pytest.mark.parametrize("kv", ["fp8_e4m3", "fp8_e4m3_per_head"])
def test_nothing_else_is_another(source, tmp_path, kv):
    """The other tensors, and the config, are those of a run without a cache."""
    quantize(source, tmp_path / "out", kv=kv)
    quantize(source, tmp_path / "plain", kv=None)
    for shard in sorted((tmp_path / "out").glob("*.safetensors")):
        ours, theirs = load_file(shard), load_file(tmp_path / "plain" / shard.name)
        scales = {n: t for n, t in ours.items() if n.endswith(SCALES)}
        assert all(torch.equal(ours[n], t) for n, t in theirs.items()) and ours.keys() - theirs.keys() == scales.keys()
        for t in scales.values():
            assert t.dtype == torch.float32 and t.shape == ((2, 1, 1) if kv.endswith("head") else (1,))
    configs = [json.loads((tmp_path / x / "config.json").read_text())["quantization_config"] for x in ("out", "plain")]
    assert configs[0].pop("kv_cache_scheme")["strategy"] == ("attn_head" if kv.endswith("head") else "tensor")
    assert configs[1].pop("kv_cache_scheme") is None and configs[0] == configs[1]


class Killed(BaseException):
    """Stands for a kill: nobody catches it."""


@pytest.mark.parametrize("shard", ["model-00002", "model-00003"])
def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(source, tmp_path, monkeypatch, shard):
    replace = Path.replace

    def killing(path, target):
        if target.name.startswith(shard):
            raise Killed
        replace(path, target)

    with monkeypatch.context() as m, pytest.raises(Killed):
        m.setattr(Path, "replace", killing)
        quantize(source, tmp_path / "out")
    if shard == "model-00003":
        with pytest.raises(ValueError, match="other settings .*kv_cache was 'fp8_e4m3', is 'fp8_e4m3_per_head'"):
            quantize(source, tmp_path / "out", kv="fp8_e4m3_per_head")
        with pytest.raises(ValueError, match="other settings .*kv_cache was 'fp8_e4m3', is None"):
            quantize(source, tmp_path / "out", kv=None)
    quantize(source, tmp_path / "out")
    quantize(source, tmp_path / "whole")
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_scales_of_the_source_are_not_lost_in_silence(source, tmp_path):
    """A source in 16 bits whose cache has scales, and a quantized one."""
    model = load_model(source)
    model.kv_cache = KV_PRESETS["fp8_e4m3"]
    for layer in model.attentions().values():
        layer.k_scale = layer.v_scale = torch.tensor([0.5])
    save_model(model, tmp_path / "plain")
    quantize(source, tmp_path / "codes")
    for name in ("plain", "codes"):
        with pytest.raises(ValueError, match="its KV cache has scales of its own, in fp8_e4m3: .*--kv-cache auto"):
            quantize(tmp_path / name, tmp_path / "out", kv=None, dequantize=True)
        kv = "auto" if name == "plain" else "fp8_e4m3_per_head"
        quantize(tmp_path / name, tmp_path / f"{name}-{kv}", kv=kv, dequantize=True)
        assert load_model(tmp_path / f"{name}-{kv}").kv_cache == KV_PRESETS.get(kv)
    quantize(source, tmp_path / "again", kv=None)
    assert files(tmp_path / "again") == files(tmp_path / "plain-auto")


def test_rounding_to_nearest_needs_a_text_now(source, tmp_path):
    with pytest.raises(ValueError, match="rtn with no transform and kv_cache fp8_e4m3 needs calibration ids"):
        quantize(source, tmp_path / "out", ids=None)
    quantize(source, tmp_path / "out", ids=None, kv="auto")


@pytest.mark.parametrize(("kv", "said"), [
    ("fp9", "unknown KV cache format 'fp9'"), ("int8_per_token_head", "what vLLM reads from one is 8-bit floats"),
    ("fp8_e5m2", "KV cache in fp8_e5m2"), ("int4_kivi", "KV cache in int4_kivi"),
])  # fmt: skip
def test_formats_that_no_file_can_say(tmp_path, capsys, kv, said):
    with pytest.raises(SystemExit):
        main(["quantize", "shipped", "--scheme", "W4A16", "--kv-cache", kv, "--out", str(tmp_path / "out"), "--quiet"])
    printed = capsys.readouterr().err
    assert said in printed and printed.count("\n") == 1 and not list(tmp_path.iterdir())


def test_the_command(source, tmp_path, capsys):
    short = ["--windows", "4", "--seq-len", "128", "--method", "rtn", "--json", "--quiet"]
    main(["quantize", "shipped", "--scheme", "W8A8", "--kv-cache", "fp8_e4m3", "--out", str(tmp_path / "out"), *short])
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert settings["kv_cache"] == "fp8_e4m3" and settings["windows"] == 4 and settings["calibration_sha256"]
    model = load_model(tmp_path / "out")
    assert all(0 < layer.k_scale.item() < 1 for layer in model.attentions().values())
