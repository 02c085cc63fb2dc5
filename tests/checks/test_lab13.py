"""Lab 13's questions, checked themselves: they are those of the clinic, and each case drawn is what its table says."""

import pytest
import torch

from qcourse.checks.judge import generator, judge
from qcourse.checks.lab13.alone import ERRORS_ALONE
from qcourse.checks.lab13.loudness import MEND_GAIN
from qcourse.checks.lab13.moved import WHAT_MOVED, WORDS
from qcourse.checks.lab13.nibbles import SWAP_NIBBLES
from qcourse.checks.lab13.protocol import AUDIT
from qcourse.study.clinic import examine, patient
from qcourse.study.clinic.codes import held_by


def cases(task, seed=0):
    return [args for i, p in enumerate(task.properties) for args in p.cases(generator(seed, i))]


@pytest.mark.parametrize("case", ["a double BOS", "perplexity without the shift", "calibrated on the evaluation text"])
def test_the_audit_says_what_the_clinics_meter_says(case):
    p = patient(3, case)
    shown = examine(p, "meter")
    read = p.planted.calibration
    read = torch.full((1, 1), -1) if read is None else read[:, 1:33]
    markers, next_ids, seen = AUDIT.expected(p.reading.inputs, p.reading.targets, int(p.text.ids[0, 0]), read)
    assert (markers, seen) == (shown.markers, shown.seen or 0.0)
    assert next_ids == pytest.approx(shown.next_id)


@pytest.mark.parametrize(
    ("case", "word"),
    [("zero points off by one", "zero points"), ("swapped nibbles", "nibbles"), ("Q and K rows not put back", "rows")],
)
def test_what_moved_names_the_clinics_accidents(case, word):
    seed = next(s for s in range(40) if "W8" not in patient(s, case).scheme)
    p = patient(seed, case)
    name = examine(p, "errors by layer").worst
    a, b = (held_by(m.linears()[name]) for m in (p.model, p.reference))
    none = torch.zeros_like(a.scale, dtype=torch.uint8)
    pair = [((h.codes + 8).byte() if h.signed else h.codes, none if h.zero is None else h.zero) for h in (a, b)]
    assert WHAT_MOVED.expected(*pair[0], *pair[1]) == word


def test_nibbles_swapped_twice_are_the_words_again():
    for (words,) in cases(SWAP_NIBBLES):
        swapped = SWAP_NIBBLES.expected(words)
        data = words.view(torch.uint8)
        assert torch.equal(swapped, (data << 4 | data >> 4).view(torch.int32))  # as the clinic plants it
        assert torch.equal(SWAP_NIBBLES.expected(swapped), words) and not torch.equal(swapped, words)


def test_every_case_is_what_its_table_says():
    for seed in range(5):
        for codes, zeros, twin_codes, twin_zeros in cases(WHAT_MOVED, seed):
            assert codes.dtype == zeros.dtype == torch.uint8 and codes.shape == twin_codes.shape
            assert max(t.max() for t in (codes, zeros, twin_codes, twin_zeros)) < 16
        for _, loud, twin, plain in cases(MEND_GAIN, seed):
            heard = twin > 0
            assert torch.equal(heard, plain > 0) and torch.equal(heard, loud > 0)
            x, y = (plain[heard] / twin[heard]).log(), (loud[heard] / twin[heard]).log()
            assert (y - round(float(x @ y / (x @ x))) * x).abs().max() < 0.1
        for inputs, targets, bos, read in cases(AUDIT, seed):
            markers = AUDIT.expected(inputs, targets, bos, read)[0]
            assert inputs.shape == targets.shape and read.shape[1] <= inputs.shape[1] - markers
            assert (inputs[:, :markers] == bos).all() and (inputs[:, markers] != bos).all()
            assert (inputs[:, markers:] == bos).any()  # the marker stands in the text as well


def test_no_answer_is_always_the_same_word():
    for prop in WHAT_MOVED.properties:
        given = {WHAT_MOVED.expected(*args) for args in prop.cases(generator(1, 0))}
        assert len(given) > 1 and given <= set(WORDS)


def test_a_healthy_layer_has_no_error_at_all():
    for x, twin, ill in cases(ERRORS_ALONE):
        errors = ERRORS_ALONE.expected(x, twin, ill)
        assert torch.equal(errors == 0, (twin == ill).all(2).all(1))


@pytest.mark.parametrize("word", WORDS)
def test_a_constant_word_earns_nothing(word):
    assert judge(WHAT_MOVED, lambda *args: word, 0).score == 0
