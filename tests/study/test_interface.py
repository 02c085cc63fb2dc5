"""What notebook 09 shows: a layer's life as it is, ways read off the real tables, cuts as the layouts allow them."""

import pytest
import torch

from qcourse.checkpoints.rules import Rule
from qcourse.gemm.choose import choose
from qcourse.layers.config import RulesConfig, get_quantization_config
from qcourse.layers.linear import Linear
from qcourse.layers.shares import shares
from qcourse.models.loader import load_model
from qcourse.numerics.quantize import quantize
from qcourse.numerics.schemes import PRESETS, int_weight, per_group
from qcourse.packing.packed import LAYOUTS, holders, pack
from qcourse.study import cuts, dispatch, life
from qcourse.study.cost import model_bytes, storage_bytes
from qcourse.study.experiments import SITES
from qcourse.study.mixed import RUNS, mixed
from qcourse.study.portions import COLORS, portions, stacked
from qcourse.study.widgets.lives import STEPS, LifeView

N, K = 64, 256
WEIGHT_ONLY = [name for name, s in PRESETS.items() if s.input_activations is None]
HELD_BY = {name: holders(PRESETS[name].weights, 256, 768) for name in ("W4A16_ASYM", "W4A16", *WEIGHT_ONLY)}


def in_file(name, layout):
    return RulesConfig([Rule("Linear", PRESETS[name], layout)], quantizer=None)


@pytest.mark.parametrize("name", ["bf16", *WEIGHT_ONLY])
def test_a_life_is_that_of_a_layer(name):
    W, x, config = torch.randn(N, K).bfloat16(), torch.randn(2, K), get_quantization_config(name)
    stages, y = life.life(config, {"weight": W}, x, N)
    assert tuple(stages) == life.STEPS and stages["create_weights"]["weight"].promised
    assert life.total(stages["create_weights"]) == 0 and life.total(stages["load"]) == 2 * N * K
    layer = Linear(K, N, quant_config=get_quantization_config(name), prefix=life.PREFIX)
    layer.weight = torch.nn.Parameter(W, requires_grad=False)
    layer.quant_method.process_weights_after_loading(layer)
    assert torch.equal(layer(x), y) and life.total(stages["apply"]) == storage_bytes(layer)
    assert stages["apply"] == stages["process_weights_after_loading"] == life.held(layer)


@pytest.mark.parametrize("layout", [n for n in LAYOUTS if n in holders(PRESETS["W4A16_ASYM"].weights, N, K)])
def test_codes_of_a_file_end_where_codes_made_here_do(layout):
    W, x = torch.randn(N, K), torch.randn(2, K)
    q = quantize(W, PRESETS["W4A16_ASYM"].weights)
    q = q if layout != "gptq" else quantize(W.abs() * torch.tensor([1.0, -1.0]).repeat(K // 2), q.args)  # no zero point 0
    tensors = pack(q, layout).tensors
    stages, y = life.life(in_file("W4A16_ASYM", layout), tensors, x, N)
    torch.testing.assert_close(y, choose(pack(q))(x))
    assert {n: h.shape for n, h in stages["load"].items()} == {n: tuple(t.shape) for n, t in tensors.items()}
    with pytest.raises(ValueError, match="this layer waits for"):
        life.life(in_file("W4A16_ASYM", layout), dict(list(tensors.items())[1:]), x, N)
    with pytest.raises(ValueError, match="'more' has no place"):
        life.life(in_file("W4A16_ASYM", layout), tensors | {"more": W}, x, N)


def test_lives_are_drawn_and_told():
    stages, _ = life.life(get_quantization_config("W4A16"), {"weight": torch.randn(N, K)}, torch.randn(1, K), N)
    picture = life.picture({"W4A16": stages}, "a life")
    assert "qweight (64, 128) uint8" in picture.alt and f"{N * K // 2 + 2 * N * K // 128:,} bytes" in picture.alt


def test_the_widget_goes_step_by_step():
    W = {"weight": torch.randn(N, K).bfloat16()}
    lives = {n: life.life(get_quantization_config(n), W, torch.randn(1, K), N)[0] for n in ("W4A16", "W8A16")}
    view = LifeView(lives, step="create_weights")
    assert "[(64, 256) bfloat16]" in view.html() and "qweight" not in str(view)
    which, step, told = view.widget().children
    step.at = STEPS.index("apply")
    assert "(64, 128) uint8" in told.value and "method.apply" in told.value
    which.at = 1
    assert "(64, 256) uint8" in told.value and view.format == "W8A16"
    step.at = 0
    assert view.table().rows[-1] == ["bytes"] and "from_config" in told.value
    for wrong in ({"format": "W3A16"}, {"step": "load it"}):
        with pytest.raises(ValueError, match="one of "):
            LifeView(lives, **wrong)


def test_the_widget_has_a_form_for_reading(monkeypatch):
    monkeypatch.setenv("QCOURSE_STATIC", "1")
    seen = []
    monkeypatch.setattr("IPython.display.display", lambda *what, **how: seen.extend(what))
    stages, _ = life.life(None, {"weight": torch.randn(N, K)}, torch.randn(1, K), N)
    LifeView({"bf16": stages})._ipython_display_()
    assert "weight" in seen[0]["text/plain"] and "<table" in seen[0]["text/html"]


@pytest.mark.parametrize("name", PRESETS)
def test_the_way_is_the_one_that_a_layer_goes(name):
    scheme = PRESETS[name]
    way, W = dispatch.route(scheme), torch.randn(16, dispatch.SHAPE[1])
    static = scheme.input_activations is not None and scheme.input_activations.calibrated
    p = pack(quantize(W, scheme.weights), way.home)
    product = choose(p, scheme.input_activations, torch.tensor([0.1]) if static else None)
    assert tuple(dict.fromkeys(k.name for k in product.rows)) == way.kernels
    wanted = RulesConfig([Rule("Linear", scheme)], input_scales={"up_proj": 0.1} if static else None)
    layer = Linear(W.shape[1], W.shape[0], quant_config=wanted, prefix="up_proj")
    layer.weight.data = W
    layer.quant_method.process_weights_after_loading(layer)
    assert layer.product.p.layout == way.home and way.home in way.holders and way.kernels[-1] == "reference"


def test_a_new_scheme_appears_in_the_picture_by_being_added():
    found = dispatch.routes({"W4A16": PRESETS["W4A16"], "W5A16": type(PRESETS["W4A16"])(int_weight(5, per_group(32)))})
    picture = dispatch.picture(found, "two ways")
    assert "W5A16: cpu row, reference" in picture.alt and "W4A16: cpu row, int_dot" in picture.alt
    assert sum(map(len, (n.split(", ") for n in dispatch.alike(dispatch.routes())))) == len(PRESETS)
    assert dispatch.wrapped("a, b, c, d") == "a, b, c … (4)"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("along", ["N", "K"])
def test_what_is_drawn_as_torn_is_what_is_refused(layout, along):
    name = next((name for name, layouts in HELD_BY.items() if layout in layouts), None)
    for world in (2, 8) if name else ():
        args = PRESETS[name].weights
        found = cuts.bands(layout, args, (256, 768), world, along)
        refused = [s.why for s in shares(layout, args, 256, 768, world, along) if s.why]
        assert bool(refused) == any(b.torn for b in found), (name, world)


def test_cuts_are_drawn_with_what_each_rank_gets():
    args = PRESETS["W4A16_ASYM"].weights
    good, bad = (cuts.picture("awq", args, (256, 768), world) for world in (2, 4))
    assert "every rank gets whole pieces" in good.alt and "qzeros: 3 pieces of 128 columns to each rank" in good.alt
    assert "refused: qzeros cannot be cut at 192" in bad.alt and "torn at 192, 576" in bad.alt
    assert "not the same for all ranks" in cuts.picture("row", args, (256, 768), 3, "N").alt
    with pytest.raises(ValueError, match="one of K, N"):
        cuts.bands("row", args, (256, 768), 2, "M")


def test_portions_add_up():
    for ends in ({}, {"embedding": "W8A16"}, {"lm_head": "W8A16"}):
        model = load_model(quantization={"scheme": "W4A16", **ends})
        found = portions(model)
        assert sum(found.values()) == model_bytes(model).total and found.keys() == COLORS.keys()
        assert (found["head"] > 0) == ("lm_head" in ends)
    assert "a: linear layers" in stacked({"a": found}, "t", "bytes", {"a": "small"}).alt


def test_formats_are_mixed_as_an_experiment():
    some = ["every layer in 4 bits", "v in 8", "embedding in 8"]
    found = dict(mixed("shipped", {"v in 8": {}}, n=2, seq_len=32, formats=some))
    assert list(found) == [some[0], some[2]] and found[some[0]]["bits_per_weight"] == 4.25
    assert found[some[2]]["embedding_bytes"] < 0.6 * found[some[0]]["embedding_bytes"]
    for name, spec in RUNS.items():
        rules = get_quantization_config(spec).rules
        for site in SITES:  # each rule that a run adds means a kind of matrix that there is
            scheme = next(r.scheme for r in rules if r.matches(f"model.layers.0.self_attn.{site}"))
            assert scheme.weights.num_bits == (8 if site.split("_")[0] in name.split(" ") and "in 8" in name else 4)
