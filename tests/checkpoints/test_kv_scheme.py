"""The KV cache as part of a file: its scheme is read or refused, its scales are put on attention, and what is written is
read again, scale by scale."""

import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file

from qcourse.checkpoints import kv_scheme
from qcourse.checkpoints.compressed_tensors import kv_cache, rules
from qcourse.checkpoints.compressed_tensors_config import cache_config, config_of, writable
from qcourse.checkpoints.errors import CheckpointError
from qcourse.layers.kv_method import SCALES
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.loader import load_model, save_model
from qcourse.numerics.kv import KV_PRESETS, kv_args
from qcourse.numerics.schemes import PRESETS
from qcourse.packing.packed import layout_of

SIZES = {"vocab_size": 97, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 64}  # fmt: skip
IDS = torch.arange(24)[None]
FP8 = {"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True, "dynamic": False}
WRITABLE = ["fp8_e4m3", "fp8_e4m3_per_head"]


def random_model(**sizes) -> LlamaForCausalLM:
    torch.manual_seed(3)
    model = LlamaForCausalLM(LlamaConfig(**SIZES | sizes)).requires_grad_(False).eval()
    for p in model.parameters():
        p.data.normal_(std=0.1)
    return model


def scaled(name: str) -> LlamaForCausalLM:
    """A model whose cache has some scales."""
    model = random_model()
    model.kv_cache = KV_PRESETS[name]
    for i, layer in enumerate(model.attentions().values()):
        n = 2 if model.kv_cache.per_head else 1
        layer.k_scale, layer.v_scale = (torch.rand(n) + i + 0.01 for _ in SCALES)
    return model


def scales_of(model) -> dict[str, torch.Tensor]:
    return {f"{prefix}.{name}": getattr(layer, name) for prefix, layer in model.attentions().items() for name in SCALES}


@pytest.fixture
def folder(tmp_path):
    """One in 16 bits, whose cache has a scale a layer."""
    save_model(scaled("fp8_e4m3"), tmp_path)
    return tmp_path


def changed(folder, tensors=None, config=None):
    """The folder with other tensors, or another kv_cache_scheme."""
    if tensors is not None:
        kept = load_file(folder / "model.safetensors") | tensors
        save_file({n: t for n, t in kept.items() if t is not None}, folder / "model.safetensors")
    if config is not None:
        whole = json.loads((folder / "config.json").read_text())
        whole["quantization_config"].update(config)
        (folder / "config.json").write_text(json.dumps(whole))
    return folder


class TestScheme:
    @pytest.mark.parametrize(("scheme", "name"), [
        (FP8, "fp8_e4m3"), (FP8 | {"strategy": "attn_head"}, "fp8_e4m3_per_head"),
        ({"num_bits": 8, "type": "float", "dynamic": False}, "fp8_e4m3"),  # ModelOpt's
        (FP8 | {"observer": "memoryless_minmax", "observer_kwargs": {}, "group_size": None, "actorder": None}, "fp8_e4m3"),
    ])  # fmt: skip
    def test_honoured(self, scheme, name):
        assert kv_scheme.read(scheme, "here") == KV_PRESETS[name]

    def test_integers_are_read_too(self):
        args = kv_scheme.read(FP8 | {"type": "int"}, "here")
        assert args.static and args.keys.num_bits == 8 and args.keys.grid.limit == 127.5 and args.keys == args.values

    def test_none(self):
        assert kv_scheme.read(None, "here") is kv_scheme.read({}, "here") is None

    @pytest.mark.parametrize(("change", "said"), [
        ({"dynamic": True}, "dynamic = True"), ({"strategy": "token"}, "strategy = 'token'"),
        ({"num_bits": 4}, "num_bits = 4"), ({"symmetric": False}, "symmetric = False"),
        ({"group_size": 32}, "group_size = 32"), ({"zoom": 2}, "unknown key 'zoom'"),
        ({"strategy": "channel"}, "strategy"), ({"type": "int", "num_bits": 3}, "3-bit int"), ({"type": 8}, "type = 8"),
    ])  # fmt: skip
    def test_refused_by_name(self, change, said):
        with pytest.raises(CheckpointError, match=f"here, kv_cache_scheme: .*{said}"):
            kv_scheme.read(FP8 | change, "here")
        with pytest.raises(CheckpointError, match="an object"):
            kv_scheme.read("FP8", "here")

    @pytest.mark.parametrize("name", KV_PRESETS)
    def test_what_is_written_is_read_again_and_the_rest_refused(self, name):
        args = KV_PRESETS[name]
        if name in WRITABLE:
            for config in (cache_config(args), config_of(PRESETS["W4A16"], kv_cache=args)):
                assert kv_cache(config, "here") == args
            assert [r.pattern for r in rules(config, "here")] == ["lm_head", "Linear"]
            assert rules(cache_config(args), "here") == []
        else:
            for write in (cache_config, lambda args: config_of(PRESETS["W4A16"], kv_cache=args)):
                with pytest.raises(ValueError, match=f"KV cache in {name} .* what vLLM reads .*fp8_e4m3_per_head"):
                    write(args)

    def test_without_a_cache_nothing_else_is_written(self):
        for name in writable():
            assert config_of(PRESETS[name])["kv_cache_scheme"] is None


@pytest.mark.parametrize("name", WRITABLE)
def test_what_is_saved_loads_with_equal_scales(tmp_path, name):
    model = scaled(name)
    save_model(model, tmp_path)
    again, stored = load_model(tmp_path), load_file(tmp_path / "model.safetensors")
    assert again.kv_cache == model.kv_cache
    for key, scale in scales_of(model).items():
        assert torch.equal(scales_of(again)[key], scale) and scales_of(again)[key].dtype == torch.float32
        assert stored[key].shape == ((2, 1, 1) if name.endswith("head") else (1,))  # as llm-compressor has them
    assert torch.equal(again(IDS), model(IDS)) and all(torch.equal(a, b) for a, b in zip(
        again.parameters(), model.parameters(), strict=True))  # fmt: skip


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_other_shapes_and_dtypes_of_one_scale(folder, shape, dtype):
    name = "model.layers.1.self_attn.k_scale"
    changed(folder, {name: torch.full(shape, 0.25, dtype=dtype)})
    assert scales_of(load_model(folder))[name].tolist() == [0.25]


def test_a_scale_a_head_as_a_list(tmp_path):
    save_model(scaled("fp8_e4m3_per_head"), tmp_path)
    name = "model.layers.0.self_attn.v_scale"
    changed(tmp_path, {name: torch.tensor([0.5, 2.0])})
    assert scales_of(load_model(tmp_path))[name].tolist() == [0.5, 2.0]


@pytest.mark.parametrize("bad", [0.0, -0.5, torch.nan, torch.inf, -torch.inf, 1e-39])
@pytest.mark.parametrize("name", SCALES)
def test_no_scale_at_all(folder, bad, name):
    changed(folder, {f"model.layers.1.self_attn.{name}": torch.tensor([bad])})
    with pytest.raises(
        CheckpointError, match=rf"model.layers.1.self_attn.{name} is {f'{bad:g}'.replace('+', '.')}.*expected"
    ):
        load_model(folder)


@pytest.mark.parametrize(("tensor", "said"), [
    (None, "'model.layers.1.self_attn.k_scale' is missing"), (torch.ones(2), r"\(2,\): \(1,\) expected"),
    (torch.ones(1, 1), r"\(1, 1\)"), (torch.ones(1).to(torch.int8), "int8: float32"), (torch.ones(3), r"\(3,\)"),
])  # fmt: skip
def test_missing_misshapen_mistyped(folder, tensor, said):
    with pytest.raises(CheckpointError, match=said):
        load_model(changed(folder, {"model.layers.1.self_attn.k_scale": tensor}))


def test_scales_without_a_scheme_are_never_ignored(folder):
    whole = json.loads((folder / "config.json").read_text())
    del whole["quantization_config"]
    (folder / "config.json").write_text(json.dumps(whole))
    with pytest.raises(CheckpointError, match="self_attn.._scale' has no place .*no kv_cache_scheme"):
        load_model(folder)


def test_zero_points_of_symmetric_scales_are_dispensable_and_others_are_not(folder):
    name = "model.layers.0.self_attn.k_zero_point"  # llm-compressor writes them always
    load_model(changed(folder, {name: torch.zeros(1)}))
    with pytest.raises(CheckpointError, match=f"'{name}' has no place"):
        load_model(changed(folder, {name: torch.ones(1)}))


def test_scales_of_1_everywhere_are_said(folder, caplog):
    names = list(scales_of(load_model(folder)))
    changed(folder, {n: torch.ones(1) for n in names})
    with caplog.at_level(logging.WARNING, "qcourse"):
        load_model(folder)
    assert "every k_scale and v_scale of the KV cache is 1.0" in caplog.text
    caplog.clear()
    load_model(changed(folder, {names[0]: torch.full((1,), 0.5)}))
    assert "k_scale" not in caplog.text


class TestChoice:
    """The recipe is a setting of its own beside that of the weights."""

    def test_alone_and_beside_a_scheme(self, shipped):
        assert shipped.kv_cache is None
        for spec in ({"kv_cache": "int8_per_token_head"}, {"scheme": "W4A16", "kv_cache": "int8_per_token_head"}):
            model = load_model(quantization=spec)
            assert model.kv_cache == KV_PRESETS["int8_per_token_head"]
            assert ("weight" in dict(model.linears()["model.layers.0.mlp.up_proj"].named_parameters())) != ("scheme" in spec)

    @pytest.mark.parametrize("name", KV_PRESETS)
    def test_every_preset_can_be_named(self, tmp_path, name):
        """(Static ones wait for scales; whoever makes a cache of them is told.)"""
        save_model(random_model(head_dim=32), tmp_path)
        model = load_model(tmp_path, {"kv_cache": name})
        assert model.kv_cache == kv_args(name) and all(t is None for t in scales_of(model).values())

    def test_of_a_file_with_scales(self, folder):
        kept = load_model(folder, {"scheme": "W8A16"})
        assert kept.kv_cache == KV_PRESETS["fp8_e4m3"] and None not in scales_of(kept).values()
        for kv, named in (("fp8_e4m3", True), ("int8_per_token_head", False), ("fp8_e5m2", False), ("auto", False)):
            model = load_model(folder, {"kv_cache": kv})
            assert model.kv_cache == kv_args(kv)
            assert all((t is not None) == named for t in scales_of(model).values()), kv

    def test_of_codes_that_stay_as_they_are(self, tmp_path):
        torch.manual_seed(0)
        save_model(random_model(), tmp_path)
        tensors, layout = load_file(tmp_path / "model.safetensors"), layout_of("int-quantized")
        quantized = load_model(tmp_path, "W8A8")
        for name, layer in quantized.linears().items():
            del tensors[f"{name}.weight"]
            packed = {"weight": layer.product.p.tensors["qweight"], "weight_scale": layer.product.p.tensors["scale"]}
            tensors |= {
                f"{name}.{leaf}": t for leaf, t in packed.items() if leaf in layout.slots(PRESETS["W8A8"].weights, 8, 8)
            }
        save_file(tensors, tmp_path / "model.safetensors")
        whole = json.loads((tmp_path / "config.json").read_text()) | {"quantization_config": config_of(PRESETS["W8A8"])}
        (tmp_path / "config.json").write_text(json.dumps(whole))
        model = load_model(tmp_path, {"kv_cache": "int8_per_token_head"})
        assert model.kv_cache == KV_PRESETS["int8_per_token_head"] and torch.equal(model(IDS), quantized(IDS))
        with pytest.raises(ValueError, match="quantized already"):
            load_model(tmp_path, {"scheme": "W4A16", "kv_cache": "int8_per_token_head"})

    @pytest.mark.parametrize(("spec", "said"), [
        ({"kv_cache": "fp9"}, "unknown KV cache format 'fp9'"),
        ({"kv_cache": "int4_kivi", "group_size": 32}, "either 'scheme'"), ({}, "either 'scheme'"),
    ])  # fmt: skip
    def test_nonsense(self, spec, said):
        with pytest.raises((ValueError, TypeError), match=said):
            load_model(quantization=spec)

    def test_a_head_that_does_not_divide(self, tmp_path):
        save_model(random_model(), tmp_path)
        with pytest.raises(ValueError, match="values of head_dim=16: group_size=32 does not divide"):
            load_model(tmp_path, {"kv_cache": "int4_kivi"})


class TestSave:
    def test_a_cache_without_words_in_a_file(self, tmp_path):
        model = random_model()
        model.kv_cache = KV_PRESETS["int8_per_token_head"]
        with pytest.raises(ValueError, match="model.kv_cache is int8_per_token_head, which a folder cannot say"):
            save_model(model, tmp_path / "out")
        model.kv_cache = KV_PRESETS["fp8_e4m3"]
        with pytest.raises(ValueError, match="self_attn.k_scale is missing: calibrate"):
            save_model(model, tmp_path / "out")
        model = scaled("int8_static")
        with pytest.raises(ValueError, match="KV cache in int8_static"):
            save_model(model, tmp_path / "out")
        assert not (tmp_path / "out").exists()
