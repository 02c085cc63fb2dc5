"""The experiments that are made on every subject, tried on the shipped model, where each must find what is known of it."""

import json

import pytest
import torch

from qcourse.layers.config import scheme_of
from qcourse.models.loader import SHIPPED, load_model
from qcourse.numerics.granularity import per_group
from qcourse.numerics.schemes import PRESETS
from qcourse.study import insides, measured
from qcourse.study.experiments import EXPERIMENTS, Experiment
from qcourse.study.families import family, prepare
from qcourse.study.ladder import Divergence, ladder
from qcourse.study.perplexity import perplexity, windows

FEW = {"n": 4, "seq_len": 64}


@pytest.fixture(scope="module")
def wide():
    return load_model().float()


@pytest.fixture(scope="module")
def ids():
    return windows(SHIPPED, 4, 64, "calibration").ids[:, :-1]


def test_a_scheme_with_groups_takes_its_size_behind_its_name():
    assert scheme_of("W3A16_G64").weights == PRESETS["W3A16"].weights.with_(granularity=per_group(64))
    assert scheme_of("W4A16_G32") is PRESETS["W4A16_G32"] and scheme_of("W4A16_ASYM_G64").weights.group_size == 64
    for name in ("W8A16_G64", "W4A16_G", "W4A16_Gx", "W4A16_G-1", "W4A16_CHANNEL_G64", "_G64", "W4A16_G64_G32"):
        with pytest.raises(ValueError, match="unknown quantization scheme"):
            scheme_of(name)
    with pytest.raises(ValueError, match="positive"):
        scheme_of("W4A16_G0")


def test_the_family_that_is_smoothed_takes_its_alpha_behind_the_method():
    assert family("W8A8+smoothquant").alpha == 0.5 and family("W8A8+smoothquant@0.8").alpha == 0.8
    for name in ("W8A8+smoothquant@", "W8A8+smoothquant@2", "W8A8+smoothquant@nan", "W8A8+smoothquant@x", "W4A16+awq@0.5"):
        with pytest.raises(ValueError, match="smoothquant@0.8"):
            family(name)
    sample = windows(SHIPPED, 16, 64, "calibration").ids
    gains = [
        prepare(SHIPPED, f"W8A8+smoothquant@{a}", sample).model.layers[0].input_layernorm.weight.max() for a in (0.2, 0.8)
    ]
    assert gains[1] < gains[0] / 2  # the more is moved, the less is left in the gain


def test_kl_is_that_of_torch_and_zero_for_the_same_model():
    a, b = torch.randn(3, 5, 7), torch.randn(3, 5, 7)
    kl = Divergence(2)
    kl.keep(0, a)
    kl.look(0, a)
    assert kl.mean[0] == pytest.approx(0, abs=1e-7)
    kl.look(0, b)
    p, q = torch.log_softmax(a, -1), torch.log_softmax(b, -1)
    want = [torch.nn.functional.kl_div(q[i], p[i], log_target=True, reduction="sum").item() / 5 for i in range(2)]
    assert kl.nats == pytest.approx(want, rel=1e-5)
    assert kl.mean == pytest.approx((sum(want) / 2, abs(want[0] - want[1]) / 2), rel=1e-5)


def test_kl_over_batches_is_kl_over_windows():
    a, b = torch.randn(4, 5, 7), torch.randn(4, 5, 7)
    whole, parts = Divergence(3), Divergence(3)
    whole.keep(0, a)
    whole.look(0, b)
    for i in (0, 2):
        parts.keep(i, a[i : i + 2])
    for i in (0, 2):
        parts.look(i, b[i : i + 2])
    assert parts.nats == pytest.approx(whole.nats) and len(whole.nats) == 3


def test_the_ladder_is_perplexity_and_goes_on_where_it_stopped():
    found = dict(ladder(SHIPPED, ["W2A16", "W8A16"], **FEW))
    assert list(found) == ["bf16", "W2A16", "W8A16"]
    score = perplexity(load_model(quantization="W2A16"), windows(SHIPPED, **FEW))
    assert found["W2A16"]["bits_per_byte"] == pytest.approx(score.bits_per_byte, rel=1e-5)
    assert found["W8A16"]["kl_nats"] < 0.01 < found["W2A16"]["kl_nats"]
    assert found["W8A16"]["top1_flips"] < found["W2A16"]["top1_flips"] and found["bf16"]["kl_nats"] == 0
    rest = dict(ladder(SHIPPED, ["W2A16", "W8A16"], **FEW, done={"bf16": {}, "W8A16": {}}))
    assert list(rest) == ["W2A16"] and rest["W2A16"] == pytest.approx(found["W2A16"], rel=1e-5)
    assert dict(ladder(SHIPPED, ["W2A16"], **FEW, done=found)) == {}


def test_the_loud_channels_are_those_that_were_trained_in(wide):
    last = json.loads((SHIPPED / "train_log_2.jsonl").read_text().splitlines()[0])
    found = insides.loudness(wide, windows(SHIPPED, 8, 128, "calibration").ids)
    assert len(found) == 4 * 4  # three folds and o_proj, in four layers
    first = found["model.layers.0.self_attn.q_proj"]
    assert first["channel"] in last["loud_channels"] and first["ratio"] == first["absmax"] / first["median"] > 5


def test_the_residual_is_what_the_layers_wrote(wide, ids):
    rows = insides.residual_absmax(wide, ids)
    x = wide.model.embed_tokens(ids)
    assert rows.shape == (4, 64) and torch.isfinite(rows).all()
    seen = []
    with insides.listening(wide.model.layers, lambda i, x, out: seen.append(out)):
        wide(ids)
    assert torch.allclose(rows[3], seen[3].abs().amax((0, 2))) and x.shape[1] == 64
    with insides.listening(wide.model.layers, lambda *a: seen.append(None)):
        pass
    wide(ids)
    assert len(seen) == 4  # nobody listens any more


def test_attention_to_the_first_token_is_a_share_and_agrees_with_torch(wide, ids):
    share = insides.attention_to_first(wide, ids)
    assert share.shape == (4, 4) and ((share >= 0) & (share <= 1)).all()
    got = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def watch(q, k, v, **kw):
        ones = torch.zeros_like(v)
        ones[:, :, 0] = 1  # what each query takes from position 0 is its share
        got.append(attend(q, k, ones, **kw)[..., 0][:, :, 16:].mean((0, 2)))
        return attend(q, k, v, **kw)

    torch.nn.functional.scaled_dot_product_attention = watch
    try:
        wide(ids)
    finally:
        torch.nn.functional.scaled_dot_product_attention = attend
    assert torch.allclose(share, torch.stack(got), atol=1e-5)


def test_a_planted_super_weight_is_found_and_put_back(ids):
    model = load_model().float()
    layer = model.model.layers[2].mlp.down_proj
    model.model.layers[2].mlp.up_proj.weight.data[5] *= 200  # a loud input channel …
    layer.weight.data[17, 5] = 20.0  # … that meets one output channel
    found = insides.super_weights(model, ids)
    assert (found[0]["layer"], found[0]["row"], found[0]["column"]) == ("model.layers.2.mlp.down_proj", 17, 5)
    assert found[0]["carries"] >= found[1]["carries"]
    with insides.without(layer, 17, 5):
        assert layer.weight[17, 5] == 0
    assert layer.weight[17, 5] == 20


def test_rounded_layers_are_rounded_only_within(wide):
    layer, before = wide.model.layers[0].mlp.up_proj, wide.model.layers[0].mlp.up_proj.weight.clone()
    with pytest.raises(RuntimeError), insides.rounded([layer], PRESETS["W4A16"].weights):
        assert not torch.equal(layer.weight, before) and len(layer.weight[0].unique()) <= 2 * 16
        raise RuntimeError
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize("name", ["outliers", "first-token", "super-weight", "sensitivity"])
def test_every_experiment_runs_on_another_subject(name):
    results = dict(EXPERIMENTS[name].run("shipped", {}, n=16, seq_len=33))
    assert results and json.dumps(results, allow_nan=False)


def test_sensitivity_of_all_parts_is_of_the_whole():
    parts = dict(EXPERIMENTS["sensitivity"].run("shipped", {}, n=8, seq_len=32))
    layers = [r["weights"] for name, r in parts.items() if name.startswith("layer")]
    sites = [r["weights"] for name, r in parts.items() if not name.startswith("layer")]
    assert len(layers) == 4 and len(sites) == 7 and sum(layers) == sum(sites)
    assert dict(EXPERIMENTS["sensitivity"].run("shipped", parts, n=8, seq_len=32)) == {}


class TestCaptures:
    """Kept, continued, replayed: whose numbers they are is always said."""

    @pytest.fixture
    def toy(self, monkeypatch):
        calls = []

        def run(source, done, n, seq_len):
            for key in ("a", "b", "c"):
                if key in done:
                    continue
                calls.append(key)
                if calls == ["a", "b"]:
                    raise KeyboardInterrupt
                yield key, {"value": len(calls), "n": n}

        experiment = Experiment(run, {"n": 64, "seq_len": 512}, {"n": 2, "seq_len": 16})
        monkeypatch.setitem(measured.EXPERIMENTS, "toy", experiment)
        return calls

    def test_an_interrupted_one_is_continued_and_a_whole_one_is_left_alone(self, tmp_path, toy):
        def keep():
            measured.keep("toy", tmp_path, "python -m toy", "shipped", show=lambda text: None)

        with pytest.raises(KeyboardInterrupt):
            keep()
        assert not measured.read_capture(tmp_path / "shipped-toy.json")["complete"]
        keep()
        assert toy == ["a", "b", "b", "c"]
        capture = measured.read_capture(tmp_path / "shipped-toy.json")
        assert capture["complete"] and list(capture["results"]) == ["a", "b", "c"] and capture["command"] == "python -m toy"
        before = (tmp_path / "shipped-toy.json").read_bytes()
        keep()
        assert (tmp_path / "shipped-toy.json").read_bytes() == before and len(toy) == 4

    def test_a_format_that_was_added_is_measured_and_the_others_are_kept(self, tmp_path, monkeypatch):
        def run(source, done, formats):
            yield from ((f, {"by": formats}) for f in formats if f not in done)

        for formats in (["a", "b"], ["b", "c", "a"]):
            monkeypatch.setitem(measured.EXPERIMENTS, "toy", Experiment(run, {"formats": formats}))
            measured.keep("toy", tmp_path, "c", "shipped", show=lambda text: None)
        results = measured.read_capture(tmp_path / "shipped-toy.json")["results"]
        assert [r["by"] for r in results.values()] == [["a", "b"], ["a", "b"], ["b", "c", "a"]]

    def test_numbers_of_another_model_are_not_continued(self, tmp_path, toy):
        toy.extend("xy")
        measured.keep("toy", tmp_path, "c", "shipped", show=lambda text: None)
        path = tmp_path / "shipped-toy.json"
        other = json.loads(path.read_text())
        other["settings"]["model_sha256"] = "another"
        path.write_text(json.dumps(other))
        with pytest.raises(ValueError, match="other settings.*model_sha256.*remove it"):
            measured.keep("toy", tmp_path, "c", "shipped")

    def test_live_where_the_subject_is_here_and_said(self, tmp_path, toy):
        toy.extend("xy")
        here = measured.experiment("toy", tmp_path, "shipped")
        assert (
            here.live and here.results["a"]["n"] == 2 and "Measured here, just now" in here.said and "2 windows" in here.said
        )

    def test_replayed_where_it_is_not(self, tmp_path, toy, monkeypatch):
        monkeypatch.setenv("QCOURSE_CACHE", str(tmp_path / "empty"))
        with pytest.raises(FileNotFoundError):
            measured.experiment("toy", tmp_path)
        capture = {"device": "D", "date": "2026-01-02T00:00", "versions": {"torch": "2"}, "command": "make x"}
        capture |= {"complete": True, "settings": {"n": 64, "seq_len": 512}}
        capture["results"] = {"bf16": {"v": 1}, "x": {"v": 2}, "y": {"v": 3}}
        path = tmp_path / "smollm2-toy.json"
        path.write_text(json.dumps(capture))
        found = measured.experiment("toy", tmp_path)
        assert not found.live and found.results == capture["results"]
        for word in ("Replayed from smollm2-toy.json", "D", "2026-01-02", "torch 2", "64 windows of 512 tokens", "$ make x"):
            assert word in found.said
        assert list(measured.experiment("toy", tmp_path, formats=["y"]).results) == ["bf16", "y"]
        for bad in ("[]", "{}", "nonsense"):
            path.write_text(bad)
            with pytest.raises(ValueError, match="is no capture"):
                measured.experiment("toy", tmp_path)

    def test_the_table_of_a_ladder(self):
        rung = {"bits_per_byte": 1.5, "added_bits_per_byte": 0.25, "added_stderr": 0.01, "kl_nats": 0.5, "top1_flips": 0.125,
                "bits_per_weight": 4.25}  # fmt: skip
        text = str(measured.ladder_table({"bf16": rung, "W4": rung}))
        assert "(1.500)" in text and "+0.2500 ± 0.0100" in text and "12.5%" in text and text.count("\n") == 2


def test_a_chat_of_every_format():
    found = dict(EXPERIMENTS["chat"].run("shipped", {}, formats=["bf16", "W8A16"], questions=["def f("], length=4))
    assert list(found) == ["bf16", "W8A16", "bf16 without one weight"] and all(set(a) == {"def f("} for a in found.values())
