"""A source that is quantized already, in other formats: they start from what its codes stand for."""

import pytest
import torch
from test_reference_files import FILES, MODELS, source

from qcourse import load_model
from qcourse.cli import main
from qcourse.layers.unquantized import UnquantizedLinearMethod
from qcourse.models.foreign import template_of
from qcourse.models.loader import SHIPPED, CheckpointError, open_checkpoint, save_model
from qcourse.models.subjects import SUBJECTS, source_of
from qcourse.numerics.quantize import dequantize, quantize
from qcourse.numerics.schemes import PRESETS
from qcourse.study.evaluate import evaluate
from qcourse.study.fit import legal_group

IDS = torch.arange(12)[None]


@pytest.mark.parametrize("name", MODELS)
def test_sixteen_bits_are_what_the_codes_stand_for(name):
    held, wide = load_model(source(name)), load_model(source(name), dequantize=True)
    assert held.linears().keys() == wide.linears().keys()
    for layer, made in wide.linears().items():
        was = held.linears()[layer]
        kept = getattr(was, "weight", None) if isinstance(was.quant_method, UnquantizedLinearMethod) else None
        want = was.dequantized().bfloat16() if kept is None else kept  # 16-bit layers of the file stay as they are
        assert made.weight.dtype == want.dtype and torch.equal(made.weight, want), layer
    before, after = (m.model.embed_tokens.state_dict() for m in (held, wide))
    assert before.keys() == after.keys() and all(torch.equal(before[n], after[n]) for n in before)  # as the file holds it
    assert all("embed_tokens" in n for n, _ in wide.named_buffers()) and torch.isfinite(wide(IDS)).all()


def test_a_q8_0_embedding_keeps_its_blocks():
    model = load_model(source("gguf_mixed"))
    held = model.model.embed_tokens
    assert "weight" not in held.state_dict() and held.product.p.nbytes < held.output_size * held.input_size * 1.1
    ids, x = torch.tensor([[0, 5, 5], [held.output_size - 1, 2, 1]]), torch.randn(3, held.input_size)
    assert torch.equal(held(ids), held.dequantized()[ids])
    E = held.dequantized().double()
    law = x.double().abs().amax(-1, keepdim=True) / 65534 * E.abs().sum(-1)  # x in int16, and fp32's roundings
    assert ((held.logits(x).double() - x.double() @ E.T).abs() <= law + 1e-5).all()
    with pytest.raises(ValueError, match="is quantized, and this writes bf16"):
        save_model(model, None)


@pytest.mark.parametrize("name", MODELS)
def test_another_format_is_rounded_from_them(name):
    wide, again = load_model(source(name), dequantize=True), load_model(source(name), "W8A16", dequantize=True)
    for layer, made in again.linears().items():
        if layer != "lm_head":
            want = dequantize(quantize(wide.linears()[layer].weight, PRESETS["W8A16"].weights))
            assert torch.equal(made.dequantized(), want), layer


def test_without_being_asked_nothing_is_rounded_twice():
    with pytest.raises(ValueError, match="quantized already.*dequantize=True"):
        load_model(source(MODELS[0]), "W8A16")


def test_sixteen_bit_weights_stay_as_they_are(shipped):
    same = load_model(SHIPPED, dequantize=True)
    assert all(torch.equal(a, b) for a, b in zip(shipped.parameters(), same.parameters(), strict=True))


def test_a_format_that_does_not_fit_is_said_before_anything_is_read(monkeypatch):
    monkeypatch.setattr("qcourse.models.loader.fill", lambda *_: pytest.fail("read"))
    with pytest.raises(ValueError, match="group_size=7 does not divide"):
        load_model(source(MODELS[0]), {"scheme": "W4A16", "group_size": 7}, dequantize=True)


def test_a_path_is_never_taken_for_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given in (tmp_path / "smollm2", "./smollm2", source_of("./smollm2")):
        assert source_of(given) == given if not isinstance(given, str) else source_of(given).name == "smollm2"
        with pytest.raises(CheckpointError, match="no such file"):
            open_checkpoint(given)
    assert source_of("shipped") == SHIPPED


def test_eval_measures_both(tmp_path, monkeypatch):
    name = next(n for n in MODELS if (FILES / n / "tokens.json").exists())
    monkeypatch.setattr("qcourse.study.evaluate.measure_format", lambda folder, name, *_: ({"name": name}, name))
    monkeypatch.setattr("qcourse.study.evaluate.windows", lambda *_: type("W", (), {"ids": IDS})())
    report = evaluate(source(name), ["W8A16", "as-is"], dequantize=True, progress=False)
    assert list(report["results"]) == ["bf16", "W8A16", "as-is"] and report["settings"]["base"] == "bf16"
    alone = evaluate(source(name), ["as-is"], progress=False)  # its differences are from itself: another run
    assert alone["settings"]["base"] == "as-is"
    with pytest.raises(ValueError, match="--dequantize"):
        evaluate(source(name), ["W8A16"], progress=False)


def test_the_default_formats_take_a_legal_group():
    assert legal_group(SHIPPED) is None
    assert legal_group(source(MODELS[0])) is None or 128 % legal_group(source(MODELS[0])) == 0


@pytest.mark.parametrize("option", ["--context 0", "--max-new-tokens -1", "--max-new-tokens many"])
def test_chat_refuses_sizes_that_are_none(option, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["chat", "--model", "shipped", *option.split()])
    assert stopped.value.code == 2 and capsys.readouterr().err.count("\n") == 1


def test_the_template_of_a_folder(tmp_path):
    assert template_of(tmp_path) is None
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "from the config"}')
    assert template_of(tmp_path) == "from the config"
    (tmp_path / "chat_template.jinja").write_text("of its own")
    assert template_of(tmp_path) == "of its own"
    (tmp_path / "chat_template.jinja").unlink()
    (tmp_path / "tokenizer_config.json").write_text("[")
    with pytest.raises(ValueError, match="chat template cannot be read"):
        template_of(tmp_path)


def test_every_subject_is_pinned():
    assert all(len(s.sha256) == 64 and s.nbytes > 0 and s.licence for s in SUBJECTS.values())
