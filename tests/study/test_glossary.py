"""The glossary: every technical word has an entry, every entry is met where it says, the page is what the tool writes."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch

from qcourse.numerics.codebooks import NF4
from qcourse.numerics.grids import E2M1, E4M3, E5M2
from qcourse.numerics.schemes import PRESETS
from qcourse.study import interview
from qcourse.study.exercise import Choice, Lines
from qcourse.study.exercises import EXERCISES
from qcourse.study.glossary import GLOSSARY, Term, entries, glossary, missing_in, prose, terms_in
from qcourse.study.glossary_exempt import NAMES, STRESSED
from tools.glossary import DOCUMENT, document

ROOT = Path(__file__).parents[2]
CAPTURES = ROOT / "captures"
NOTEBOOKS = {p.stem.split("_")[0]: p for p in sorted((ROOT / "notebooks").glob("*.ipynb"))}
NATURAL = {  # words without capitals that the course stands on; each must have an entry of its own
    "group", "scale", "zero point", "outlier", "calibration", "roofline", "crossover", "kernel", "dequantize", "fold",
    "saturate", "clipping", "clamp", "granularity", "prefill", "decode", "KV cache", "perplexity", "bits/byte", "held out",
    "salience", "imatrix", "super weight", "rotation", "straight-through", "layout", "nibble", "shard", "slot", "rule",
    "engine", "capture", "paired", "protocol", "damping", "codebook", "ternary", "window", "distillation", "standard error",
}  # fmt: skip


def markdown(path):
    """A notebook's prose, its cells apart."""
    return "\n\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown")


def of_exercise(e):
    """Whatever of an exercise a learner reads, numbers filled in."""
    field = e.field
    if isinstance(field, Choice):
        more = [field.right, *field.wrong, *field.wrong.values()]
    else:
        more = field.points if isinstance(field, Lines) else [reason for _, reason in field.wrong]
    return "\n".join((e.title, e.question, e.answer(CAPTURES), *more))


@pytest.fixture(scope="module")
def texts():
    """Place → its text: the notebooks, and the questions and answers of the two appendices."""
    found = {number: markdown(path) for number, path in NOTEBOOKS.items()}
    found["exercises"] = "\n\n".join(of_exercise(e) for e in EXERCISES.values())
    asked = interview.answers(CAPTURES)
    found["interview"] = "\n\n".join(
        "\n".join((a.question.asked, a.answer, a.question.weak, a.question.good, a.question.excellent)) for a in asked
    )
    return found


def section(text, number):
    """§ `number` of a notebook's prose, or None."""
    parts = re.split(r"^## ", text, flags=re.M)[1:]
    return next((part for part in parts if part.startswith(f"{number} · ")), None)


class TestTheEntries:
    def test_the_course_has_its_words(self):
        assert set(GLOSSARY) >= NATURAL and len(GLOSSARY) >= 120

    @pytest.mark.parametrize("term", GLOSSARY.values(), ids=lambda t: t.name)
    def test_an_entry_is_short_and_says_something(self, term):
        assert term.says.endswith((".", ".)")) and 12 <= len(term.says) <= 260 and "\n" not in term.says
        assert len(re.findall(r"[.?!](?=\s|\)|$)", re.sub(r"\bal\.", "al", term.says))) <= 5
        assert not re.match(rf"(?:an? |the )?{re.escape(term.name)}\b(?! \()", term.says, re.I), "explained by itself"

    @pytest.mark.parametrize("term", GLOSSARY.values(), ids=lambda t: t.name)
    def test_it_is_met_where_it_says(self, term, texts):
        number, _, which = term.where.partition(" §")
        text = section(texts[number], which) if which else texts[number]
        assert text is not None, f"notebook {number} has no section {which}"
        assert term.name in terms_in(text)

    def test_no_word_has_two_entries(self):
        with pytest.raises(ValueError, match="'step' has two entries: 'a' and 'b'"):
            entries((("a", "one.", "01", "", "step"), ("b", "another.", "01", "step", "")))
        with pytest.raises(ValueError, match="'a' has two entries"):
            entries((("a", "one.", "01", "a", ""),))

    @pytest.mark.parametrize("scheme, name, said", [
        ("W4A16", "bits a weight", "takes {:.3f}"), ("MXFP4A16", "MXFP4", "{:.2f} bits a weight"),
        ("NVFP4A16", "NVFP4", "{:.1f} bits a weight"), ("Q4_0", "Q4_0", "codes; {:.1f} bits"),
        ("Q4_1", "Q4_0", "{:.0f} bits;"), ("Q8_0", "Q4_0", "codes, {:.1f} bits."), ("IQ4_NL", "IQ4_NL", "{:.1f} bits."),
        ("TQ2_0", "TQ1_0", "takes {:.2f}."),
    ])  # fmt: skip
    def test_bits_are_those_of_the_registry(self, scheme, name, said):
        assert said.format(PRESETS[scheme].weights.bits_per_weight(4096, 4096)) in GLOSSARY[name].says

    def test_limits_are_those_of_the_grids(self):
        assert f"largest {E4M3.limit:.0f}" in GLOSSARY["E4M3"].says and f"largest {E5M2.limit:.0f}" in GLOSSARY["E5M2"].says
        values = sorted({abs(v) for v in E2M1.decode(torch.arange(16, dtype=torch.uint8)).tolist()})
        assert values == [0, 0.5, 1, 1.5, 2, 3, 4, 6] and "0, ½, 1, 1½, 2, 3, 4, 6" in GLOSSARY["E2M1"].says
        assert f"{len(NF4.values)} quantiles" in GLOSSARY["NF4"].says and f"{PRESETS['NF4'].weights.granularity.cols}." in (
            GLOSSARY["NF4"].says
        )


class TestTheTexts:
    @pytest.mark.parametrize("place", [*NOTEBOOKS, "exercises", "interview"])
    def test_every_technical_word_has_an_entry(self, place, texts):
        assert missing_in(texts[place]) == []

    def test_a_word_that_nobody_explains_is_found(self, texts):
        planted = (
            texts["08"].replace("split-K", "SPLITQ", 1)
            + "\n\nThe **zorbing** of X7Y2, twice: X7Y2. **Every row of it is a sentence.**"
        )
        assert missing_in(planted) == ["zorbing", "SPLITQ", "X7Y2"]

    def test_each_excuse_is_needed_and_none_has_an_entry(self, texts):
        everything = "\n\n".join(prose(text) for text in texts.values())
        for name, reason in NAMES.items():
            assert reason and re.search(rf"\b{name}s?\b", everything), name
            assert name not in {s for term in GLOSSARY.values() for s in term.spellings}
        for phrase in STRESSED:
            assert re.search(rf"\*\*[^*]*?{re.escape(phrase)}", everything), phrase
            assert phrase not in GLOSSARY

    def test_what_is_no_prose_is_not_asked_for(self):
        text = "`X1Y2` $X1Y2$ <code>X1Y2</code> [lab](../labs/X1Y2.ipynb) X1Y2.json 0x7F 70B\n\n    X1Y2\n\n```\nX1Y2\n```\n"
        assert missing_in(text) == [] and missing_in(f"{text}\nX1Y2") == ["X1Y2"]


class TestTermsIn:
    @pytest.mark.parametrize("text, found", [
        ("Zero points, two **scale**s and a folded gain", ["fold", "norm", "scale", "zero point"]),
        ("W4A16_ASYM in groups of 64", ["group", "symmetric", "W4A16"]), ("a KV cache", ["KV cache"]),
        ("a rounded token", ["token"]), ("`g_idx`", ["g_idx"]), ("[x](../labs/GPTQ.ipynb)", []), ("Q8_0", ["Q4_0"]),
        ("QuIP#", ["QuIP#"]), ("a *relative*\nerror", ["relative error"]), ("gptq and scalene", []),
    ])  # fmt: skip
    def test_what_a_text_uses(self, text, found):
        assert terms_in(text) == found

    def test_the_interviews_words_are_the_glossarys(self, texts):
        assert all(says == GLOSSARY[word].says for word, says in interview.TERMS.items())
        assert set(interview.TERMS) <= set(terms_in(texts["interview"]))


class TestLookingUp:
    def test_a_word_and_other_spellings_of_it(self):
        note = glossary("zero point")
        assert note.startswith("**zero point**: the code that stands for") and "Met in 01 §4." in note
        assert glossary("zero points") == glossary("Zero point") == note == note._repr_markdown_() == repr(note)
        assert glossary("RTN") == glossary("rounding to nearest") and "`qzeros` (GPTQ, AWQ)" in note

    def test_several_at_once_and_all(self):
        assert glossary("W8A8_STATIC").count("Met in") == 2 and glossary("W8A8_STATIC").startswith("**static**")
        assert glossary().count("Met in") == len(GLOSSARY)

    def test_an_unknown_one_is_told_with_the_nearest(self):
        assert glossary("zeropoint") == "There is no entry 'zeropoint'; did you mean zero point?"
        assert glossary("qqqqqq") == "There is no entry 'qqqqqq'; glossary() shows all of them"

    def test_a_term_without_other_names(self):
        assert Term("x", "a letter.", "00").line("[00](a)") == "**x**: a letter. Met in [00](a)."


class TestThePage:
    def test_it_is_what_the_tool_writes(self):
        assert DOCUMENT.read_text(encoding="utf-8") == document(), "python -m tools.glossary"

    def test_its_links_lead_somewhere(self):
        links = set(re.findall(r"\]\(([^)]+)\)", document()))
        assert len(links) >= 14 and all((DOCUMENT.parent / link).is_file() for link in links)

    def test_looking_up_needs_no_torch(self):
        code = "import sys, qcourse.study.glossary; print('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout == "False\n"
