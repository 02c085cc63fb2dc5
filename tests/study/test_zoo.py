"""The zoo: rows from the registry, qualities from a capture, a front that is one, names that do not cover each other."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from qcourse.cli import main
from qcourse.models.llama import LlamaConfig
from qcourse.models.loader import SHIPPED, open_checkpoint
from qcourse.numerics import schemes
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.schemes import PRESETS, QuantizationScheme
from qcourse.study.callouts import overlap, place, within
from qcourse.study.measured import capture_file
from qcourse.study.zoo import MODEL, Animal, animals, fitting, front
from qcourse.study.zoo_picture import AXES, picture, table

CAPTURES = Path(__file__).parents[2] / "captures"
SMALL = replace(open_checkpoint(SHIPPED).config, hidden_size=576, intermediate_size=1536)


def results(**added):
    """An experiment's results: format → (bits/byte added, error)."""
    rungs = {name: {"added_bits_per_byte": a, "added_stderr": e} for name, (a, e) in added.items()}
    return {MODEL: asdict(open_checkpoint(SHIPPED).config)} | rungs


def test_every_scheme_of_the_registry_is_there_or_says_why_not():
    names, refused = fitting(open_checkpoint(SHIPPED).config)
    assert names.keys() == PRESETS.keys() and not refused
    names, refused = fitting(SMALL)
    assert names["W3A16"] == "W3A16_G64" and "W4A16" not in names | refused  # its G=64 is a row of its own
    assert "nearest legal K: 512 or 768" in refused["Q4_K"] and "does not divide K=576" in refused["FP8_BLOCK"]
    assert {n for n in PRESETS if f"{n}_G64" not in PRESETS} == names.keys() | refused.keys()


def test_a_new_format_appears_by_being_added(monkeypatch):
    new = QuantizationScheme(schemes.int_weight(5, schemes.per_group(32)))
    monkeypatch.setitem(PRESETS, "W5A16", new)
    zoo = animals(results(W8A16=(0.0, 0.0)))
    row = next(a for a in zoo if a.name == "W5A16")
    assert row.added is None and row.bits == 5.5 and "not measured yet" in str(table(zoo)) and IntGrid(5) == new.weights.grid


def test_bits_and_bytes_are_those_of_the_model():
    zoo = {a.name: a for a in animals(results())}
    config = open_checkpoint(SHIPPED).config
    head = 2 * config.vocab_size * config.hidden_size
    weights = (zoo["bf16"].token_bytes - head) / 2
    assert zoo["W4A16"].bits == 4.125 and zoo["W4A16"].token_bytes == weights * 4.125 / 8 + head
    assert [a.bits for a in animals(results())] == sorted(a.bits for a in animals(results()))


def test_the_front():
    def animal(bits, lost):
        return Animal(f"{bits}", "", False, bits, bits, None if lost is None else (lost, 0.0))

    zoo = [
        animal(2, 1.0),
        animal(3, 1.5),
        animal(4, 0.1),
        animal(4.5, None),
        animal(5, 0.1),
        animal(8, 0.0),
        animal(8.5, 0.01),
    ]
    assert [a.bits for a in front(zoo)] == [2, 4, 8]


@pytest.mark.parametrize("subject", ["shipped", "smollm2"])
def test_the_captures_hold_every_scheme(subject):
    """What the registry has and the model can take was measured, with an interval."""
    capture = json.loads(capture_file(CAPTURES, "zoo", subject).read_text())
    assert capture["complete"]
    zoo = animals(capture["results"])
    assert all(a.added is not None for a in zoo) and len(zoo) > 30
    assert LlamaConfig(**capture["results"][MODEL]).num_hidden_layers
    for axis in AXES:
        drawn = picture(zoo, subject, axis)
        assert drawn.png().startswith(b"\x89PNG") and "Pareto front" in drawn.alt
    assert str(table(zoo)).count(" *") == len(front(zoo))


def test_names_do_not_cover_each_other():
    points = [(100 + 3 * i, 100 + (i * 7) % 20) for i in range(24)]
    boxes = place(points, [(60, 10)] * len(points), (0, 0, 800, 400))
    assert all(within(b, (0, 0, 800, 400)) for b in boxes)
    assert not any(overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_the_command_says_what_does_not_fit(tmp_path, capsys):
    main(["zoo", "--model", "smollm2", "--captures", str(CAPTURES), "--out", str(tmp_path)])
    out = capsys.readouterr().out
    assert "Q4_K does not fit: blocks of 256 weights (8 scales of 32 under one) do not divide K=576" in out


def test_the_command_prints_and_draws(tmp_path, capsys):
    main(["zoo", "--model", "shipped", "--captures", str(CAPTURES), "--out", str(tmp_path)])
    out = capsys.readouterr().out
    assert "NVFP4A16" in out and "Replayed from shipped-zoo.json" in out
    assert {p.name for p in tmp_path.iterdir()} == {"zoo-shipped-bits.png", "zoo-shipped-bytes.png"}


@pytest.mark.parametrize(("args", "said"), [(["--model", "gpt"], "one or more of shipped, smollm2"),
                                            (["--captures", "nowhere"], "nowhere/shipped-zoo.json")])  # fmt: skip
def test_the_command_says_what_is_wrong(args, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["zoo", *args])
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())
