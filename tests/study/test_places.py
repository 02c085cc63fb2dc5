"""One weight in seven files: found by offsets and shifts alone, and the same as the loader makes of each file."""

import random

import pytest
import torch

from qcourse.models.loader import load_model
from qcourse.study.places import NAMES, SAME, Whereabouts
from qcourse.study.places_figure import Bits, places_table, seven_view

LAYERS = ("model.layers.1.self_attn.q_proj", "model.layers.0.self_attn.k_proj", "model.layers.2.mlp.down_proj")


@pytest.fixture(scope="module")
def loaded(seven):
    return {name: load_model(path).linears() for name, path in seven.items()}


@pytest.mark.parametrize("layer", LAYERS)
def test_every_weight_is_what_the_loader_makes_of_the_file(seven, loaded, layer):
    where, rng = Whereabouts(seven, layer), random.Random(layer)
    N, K = where.shape
    spots = [(0, 0), (N - 1, K - 1), (7, 127), (8, 128)] + [(rng.randrange(N), rng.randrange(K)) for _ in range(40)]
    for name in NAMES:
        W = loaded[name][layer].dequantized().float()
        found = torch.tensor([where.place(name, n, k).value for n, k in spots])
        exact = torch.stack([W[n, k] for n, k in spots])
        assert torch.allclose(found, exact, rtol=3e-7, atol=0), name  # a product of two or three floats, rounded to fp32


def test_four_files_hold_the_same_code_scale_and_zero_point(seven):
    where = Whereabouts(seven, LAYERS[0])
    for n, k in ((102, 180), (3, 5), (255, 0)):
        found = [[part.number for part in where.place(name, n, k).parts] for name in SAME]
        code, scale, zero = found[-1]  # TorchAO's are signed
        assert found[:3] == [[code + 8, scale, zero + 8]] * 3
        gptq, awq = (where.place(name, n, k).parts[2].stored for name in ("GPTQ", "AWQ"))
        assert gptq + 1 == awq == zero + 8


def test_rows_of_q_and_k_lie_elsewhere_in_gguf_and_no_others(seven):
    q, k, down = (Whereabouts(seven, layer) for layer in LAYERS)
    for where in (q, k):
        rows = [where.row_in_gguf(n) for n in range(where.shape[0])]
        assert sorted(rows) == list(range(where.shape[0])) and rows[:2] == [0, 2] and rows[32:34] == [1, 3]
    assert [down.row_in_gguf(n) for n in range(40)] == list(range(40))


def test_what_is_not_there_is_said(seven):
    with pytest.raises(KeyError, match="no layer"):
        Whereabouts(seven, "model.layers.9.mlp.up_proj")
    with pytest.raises(IndexError, match=r"\(256, 0\)"):
        Whereabouts(seven, LAYERS[0]).place("AWQ", 256, 0)


def test_picture_and_table_show_what_was_found(seven):
    where = Whereabouts(seven, LAYERS[0])
    alt = Bits(where).picture(102, 180).alt
    for name in NAMES:
        place = where.place(name, 102, 180)
        assert f"{name}: byte {place.code.begin:,}, bits {place.code.shift} to" in alt and f"{place.value:.4f}" in alt
    table = places_table(where, 102, 180)
    assert [row[0] for row in table.rows if row[0]] == list(NAMES) and len(table.rows) == 1 + 4 * 3 + 2 + 3


def test_the_sliders_start_at_the_weight_and_stay_in_the_matrix(seven):
    view = seven_view(seven, LAYERS[0], 250, 180)
    assert view.values == {"row": 250, "column": 180} and sorted(view.choices["row"]) == list(range(192, 256))
    assert "weight (255, 180)" in view.set(row=255).figure.alt
