import pytest
import torch

from qcourse.layers.config import get_quantization_config, scheme_of
from qcourse.layers.linear import quantize_layers
from qcourse.methods.qat import loss_of, straight_through, train
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.loader import load_model
from qcourse.numerics.quantize import dequantize, fake_quantize, quantize
from qcourse.numerics.schemes import PRESETS, QuantizationScheme

SMALL = LlamaConfig(64, 64, 128, 1, 2, 1, 32, 32)
TERNARY = PRESETS["TERNARY"].weights
W2 = scheme_of("W2A16_G64").weights


def small(seed: int = 0, **changes):
    """A model of 40 thousand weights that nobody trained, with logits of a size that has something to say."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**{**vars(SMALL), **changes}), dtype=torch.float32)
    for p in model.parameters():
        p.data = torch.randn_like(p) * 0.15 if p.dim() == 2 else torch.ones_like(p)
    return model.requires_grad_(False).eval()


@pytest.fixture
def ids():
    return torch.randint(0, 64, (40, 17))


def kl(student, teacher, ids):
    with torch.no_grad():
        return loss_of(student(ids[:, :-1]), ids, teacher).item()


def rounded(model, args):
    """The model as an engine would load it."""
    return quantize_layers(model, get_quantization_config(QuantizationScheme(args)))


@pytest.mark.parametrize("scheme", PRESETS)
def test_forward_is_what_quantize_gives_and_backward_is_the_identity(scheme):
    W, args = torch.randn(4, 256, requires_grad=True), PRESETS[scheme].weights
    fake = straight_through(W, args)
    assert torch.equal(fake, dequantize(quantize(W.detach(), args)))
    upstream = torch.randn(4, 256)
    assert torch.equal(torch.autograd.grad((fake * upstream).sum(), W)[0], upstream)


@pytest.mark.parametrize(
    "args, lr", [(TERNARY, 4e-3), (W2, 4e-3), (PRESETS["NVFP4A16"].weights, 5e-4)], ids=["ternary", "2 bits", "NVFP4"]
)
def test_training_recovers_what_rounding_broke(args, lr, ids):
    """At least a third of the loss, on windows that were not trained on; the loss in the history falls as well."""
    model, teacher = small(), small()
    other = torch.randint(0, 64, (20, 17))
    before = kl(rounded(small(), args), teacher, other)
    history = train(model, ids, args, teacher, steps=40, lr=lr, batch=8)
    after = kl(rounded(model, args), teacher, other)
    assert after < 0.67 * before and sum(history[-10:]) < 0.8 * sum(history[:10])
    assert len(history) == 40


def test_ordinary_quantize_gives_what_was_trained(ids):
    """One more step's loss, computed from the model's own weights, by the layers of an engine."""
    model, teacher = small(), small()
    first = train(model, ids, W2, teacher, steps=10, batch=len(ids))
    latent = {name: m.weight.clone() for name, m in model.linears().items()}
    assert all(W.dtype == torch.float32 and not W.requires_grad for W in latent.values())
    again = small()
    for name, m in again.linears().items():
        m.weight = torch.nn.Parameter(fake_quantize(latent[name], W2), requires_grad=False)
    expected = kl(again, teacher, ids)
    torch.testing.assert_close(kl(rounded(model, W2), teacher, ids), expected, rtol=1e-4, atol=1e-5)
    probe = train(small_with(latent), ids, W2, teacher, steps=1, batch=len(ids))[0]
    torch.testing.assert_close(probe, expected, rtol=1e-4, atol=1e-5)
    assert probe < first[0]


def small_with(latent):
    model = small()
    for name, m in model.linears().items():
        m.weight = torch.nn.Parameter(latent[name].clone(), requires_grad=False)
    return model


def test_a_run_is_a_function_of_its_arguments(ids):
    runs = []
    for seed in (0, 0, 1):
        model = small()
        history = train(model, ids, TERNARY, steps=4, batch=4, seed=seed)
        runs.append((history, torch.cat([m.weight.flatten() for m in model.linears().values()])))
    assert runs[0][0] == runs[1][0] and torch.equal(runs[0][1], runs[1][1])
    assert runs[0][0] != runs[2][0]


def test_only_the_linears_change_and_the_head_does_not(ids):
    model, before = small(tie_word_embeddings=False), small(tie_word_embeddings=False).state_dict()
    with torch.inference_mode():
        train(model, ids, TERNARY, steps=2, batch=4)
    changed = {name for name, p in model.state_dict().items() if not torch.equal(p, before[name])}
    assert changed == {f"{name}.weight" for name in model.linears()} - {"lm_head.weight"}


def test_loss():
    """Written out: Σ p·(log p - log q) over the vocabulary, a mean over tokens; -log q of the next id."""
    ids, logits, other = torch.randint(0, 9, (2, 4)), torch.randn(2, 3, 9), torch.randn(2, 3, 9)
    p, q = other.softmax(-1), logits.softmax(-1)
    torch.testing.assert_close(loss_of(logits, ids, lambda _: other), (p * (p.log() - q.log())).sum(-1).mean())
    assert loss_of(logits, ids, lambda _: logits).abs() < 1e-6
    expected = -q.log().gather(-1, ids[:, 1:].unsqueeze(-1)).mean()
    torch.testing.assert_close(loss_of(logits, ids, None), expected)


@pytest.mark.parametrize("args", [TERNARY, W2], ids=["ternary", "2 bits"])
def test_the_shipped_model_in_a_few_steps(args, shipped):
    """Six steps of 256 tokens already recover a part of the text that they train on; notebooks take a minute."""
    from qcourse.models.loader import SHIPPED
    from qcourse.study.perplexity import windows

    ids = windows(SHIPPED, 4, 64, "calibration").ids
    model = load_model()
    history = train(model, ids, args, shipped, steps=6, batch=4)
    assert history[-1] < 0.75 * history[0]


class TestBadInput:
    def test_options(self, ids):
        for option in ({"steps": 0}, {"batch": 0}, {"lr": 0.0}):
            with pytest.raises(ValueError, match="at least one step"):
                train(small(), ids, W2, **option)

    @pytest.mark.parametrize("shape", [(4,), (0, 17), (4, 1), (4, 34)])
    def test_windows(self, shape):
        with pytest.raises(ValueError, match=r"windows \(n, T \+ 1\) expected, T at most 32"):
            train(small(), torch.zeros(shape, dtype=torch.long), W2)

    def test_vocabulary(self):
        with pytest.raises(ValueError, match="the model's vocabulary has 64"):
            train(small(), torch.full((2, 17), 64), W2)

    def test_quantized_already(self, ids):
        with pytest.raises(ValueError, match="q_proj is quantized already"):
            train(rounded(small(), W2), ids, W2)

    def test_a_group_that_does_not_fit_names_the_layer_and_changes_nothing(self, ids):
        model, before = small(), small().state_dict()
        with pytest.raises(ValueError, match="group_size=48 does not divide K=64"):
            train(model, ids, scheme_of("W2A16_G48").weights, steps=1)
        assert all(torch.equal(p, before[name]) for name, p in model.state_dict().items())
