"""The interview: every number is computed, every place exists, one word for one thing; and what the mock interview keeps."""

import builtins
import json
import re
from pathlib import Path

import nbformat
import pytest

from qcourse.cli import main
from qcourse.study import interview
from qcourse.study.cheatsheet_formulas import LLAMA_8B, LLAMA_70B
from qcourse.study.exercises_design_numbers import one_gpu
from qcourse.study.interview_measured import ADDED, MEASURED
from qcourse.study.interview_numbers import COMPUTED, numbers
from qcourse.study.kv import token_bytes
from qcourse.study.widgets import controls
from qcourse.study.widgets.mock_interview import kept_grades, mock_interview, progress, spoken

ROOT = Path(__file__).parents[2]
CAPTURES = ROOT / "captures"
NOMINAL = r"W\d+A\d+|int[48]|bf16|FP8|MXFP4|NVFP4|E\dM\d|\b(?:8|70)B\b|\b80 GB\b|\b16[- ]bits?\b|\b4-bit\b|\bH100\b|SmolLM2"
OTHER_WORDS = ("zero-point", "zeropoint", "KV-cache", "kv cache", "cross-over", "bits per byte", "groupsize", "group size",
               "decoding", "dequantis", "quantis", "perplexities")  # fmt: skip


@pytest.fixture(scope="module")
def found():
    return numbers(CAPTURES)


@pytest.fixture(scope="module")
def answers():
    return interview.answers(CAPTURES)


@pytest.fixture
def mock(own_guesses, answers):
    return mock_interview(answers, seed="a seed")


def read_capture_of_gemm():
    """The newest measurement of products on a CPU."""
    return json.loads(max(CAPTURES.glob("gemm-cpu-*.json")).read_text())


def texts(question):
    """Whatever of a question a learner reads."""
    return (question.asked, question.answer, question.weak, question.good, question.excellent)


class TestTheQuestions:
    def test_there_are_twenty_five_and_each_has_a_key_of_its_own(self):
        keys = [q.key for q in interview.questions()]
        assert keys == [f"A2.{i:02d}" for i in range(1, 26)] and len({q.asked for q in interview.questions()}) == 25
        assert interview.questions()[0].asked == "Why does weight quantization speed up decode?"
        assert "slower than bf16: how do you find out why?" in interview.questions()[-1].asked

    @pytest.mark.parametrize("question", interview.questions(), ids=lambda q: q.key)
    def test_no_digit_is_typed(self, question):
        for text in texts(question):
            assert re.findall(r"\S*\d\S*", re.sub(NOMINAL, "", interview.FIELD.sub("", text))) == []

    def test_a_typed_digit_would_be_found(self):
        assert re.search(r"\d", re.sub(NOMINAL, "", "W4A16 on one 80 GB GPU adds +0.123 bits/byte."))
        assert not re.search(r"\d", re.sub(NOMINAL, "", "W4A16 on one 80 GB GPU, in 16 bits, MXFP4, E4M3."))

    @pytest.mark.parametrize("question", interview.questions(), ids=lambda q: q.key)
    def test_an_answer_has_three_to_eight_sentences_and_its_levels_one_line_each(self, question):
        sentences = re.findall(r"[.?!](?:\s|$)", question.answer)
        assert 3 <= len(sentences) <= 8, len(sentences)
        for level in (question.weak, question.good, question.excellent):
            assert level and "\n" not in level and len(level) <= 125 and level[-1] != "."

    @pytest.mark.parametrize("question", interview.questions(), ids=lambda q: q.key)
    def test_its_places_exist(self, question):
        assert question.invariants and set(question.invariants) <= set(range(1, 7))
        assert any(place.startswith("lab ") for place in question.places), "where was it practised?"
        for place in question.places:
            if lab := re.fullmatch(r"lab (\d\d)\.(\d)", place):
                (source,) = (ROOT / "solutions").glob(f"{lab[1]}_*.py")
                assert f"# ## {lab[1]}.{lab[2]} · " in source.read_text(), place
            else:
                number, section = re.fullmatch(r"(\d\d) §(\d+)", place).groups()
                (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
                headings = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown"]
                assert any(h.startswith(f"## {section} · ") for h in headings), place

    def test_every_invariant_and_every_notebook_is_asked_for(self):
        assert {i for q in interview.questions() for i in q.invariants} == set(range(1, 7))
        met = {place.removeprefix("lab ")[:2] for q in interview.questions() for place in q.places}
        assert met >= {f"{n:02d}" for n in range(13)}

    def test_the_table_of_invariants_names_a_question_and_a_lab_for_each(self, answers):
        rows = interview.by_invariant(answers).rows
        assert len(rows) == 6 and all(asked and labs for _, asked, labs in rows)
        assert rows[5][1] == " ".join(q.key[3:] for q in interview.questions() if 6 in q.invariants)


class TestWords:
    def test_what_is_bold_is_a_term_and_every_term_is_used(self):
        bold = {w for q in interview.questions() for w in re.findall(r"\*\*(.+?)\*\*", q.answer)}
        assert bold == set(interview.TERMS)

    @pytest.mark.parametrize("question", interview.questions(), ids=lambda q: q.key)
    def test_no_thing_has_a_second_name(self, question):
        assert [w for w in OTHER_WORDS for text in texts(question) if w in text] == []


class TestNumbers:
    def test_each_is_used_and_none_is_missing(self, found):
        used = {name for q in interview.questions() for name in interview.FIELD.findall(q.answer)}
        assert used == set(found) == set(COMPUTED) | set(ADDED) | set(MEASURED)

    def test_none_is_empty_and_captures_are_named_where_they_lie(self, found):
        for name, number in found.items():
            assert re.fullmatch(r"[+−]?[\d,]+(\.\d+)?", number.text), name
            assert (ROOT / number.source).is_file() if number.source.startswith("captures/") else name in COMPUTED

    def test_some_by_hand(self, found):
        assert found["bits_w4"].text == str(4 + 16 / 128) and found["bits_mxfp4"].text == str(4 + 8 / 32)
        assert found["cross_bf16"].text == f"{990e12 / 3.35e12:.0f}"
        assert found["kv_8b"].text == f"{2 * 32 * 8 * 128 * 2 / 1e3:.0f}" == f"{token_bytes(LLAMA_8B) / 1e3:.0f}"
        assert float(found["kv_70b_user"].text) == pytest.approx(2 * 80 * 8 * 128 * 2 * 8192 / 1e9, abs=0.05)
        assert int(found["users_70b_fp8"].text) in (2 * int(found["users_70b"].text) + i for i in (0, 1))
        assert LLAMA_70B.num_hidden_layers == 80
        assert int(found["users_70b_fp8"].text) == one_gpu(CAPTURES)["users"]  # the exercise's budget

    def test_where_int4_stops_winning(self, found):
        seconds = read_capture_of_gemm()["seconds"]["bfloat16"]
        ahead = {int(m): min(s["int4 chosen"]) < min(s["torch 16/32-bit"]) for m, s in seconds.items()}
        wins, loses = int(found["wins"].text), int(found["loses"].text)
        assert ahead[wins] and not any(is_ahead for m, is_ahead in ahead.items() if m >= loses) and wins < loses

    def test_a_question_names_the_sources_of_its_numbers(self, answers):
        by_key = {a.question.key: a for a in answers}
        assert "captures/smollm2-weights.json" in by_key["A2.03"].sources
        assert all("{" not in a.answer and "}" not in a.answer for a in answers)
        with_numbers = [a for a in answers if interview.FIELD.search(a.question.answer)]
        assert len(with_numbers) >= 24 and all(a.sources for a in with_numbers)

    def test_an_answer_says_what_the_capture_says(self, tmp_path):
        for path in CAPTURES.glob("*.json"):
            (tmp_path / path.name).symlink_to(path)
        capture = json.loads((CAPTURES / "smollm2-weights.json").read_text())
        capture["results"]["W4A16_CHANNEL"]["added_bits_per_byte"] = 7.5
        (tmp_path / "smollm2-weights.json").unlink()
        (tmp_path / "smollm2-weights.json").write_text(json.dumps(capture))
        assert "+7.500" in interview.answers(tmp_path)[2].answer

    def test_a_missing_capture_and_an_unknown_number_are_said(self, tmp_path, found):
        with pytest.raises(ValueError, match="no capture smollm2-"):
            numbers(tmp_path)
        made_up = interview.Question("A2.99", "?", "It is {nobody}.", "", "", "", (), ())
        with pytest.raises(ValueError, match="A2.99: nothing computes 'nobody'"):
            interview.filled(made_up, found)


class TestTheMockInterview:
    def test_ten_by_chance_and_the_same_for_a_seed(self, answers):
        ten = interview.drawn(answers, "monday")
        assert len({a.question.key for a in ten}) == 10 and ten == interview.drawn(answers, "monday")
        assert ten != interview.drawn(answers, "tuesday")
        with pytest.raises(ValueError, match="there are 25 questions"):
            interview.drawn(answers, 1, 26)

    def test_no_answer_before_show_and_grades_are_kept(self, mock, answers, capsys):
        box = mock.widget()
        asked, field, row, answer, grades, said = box.children
        show, back, on = row.children
        model = mock.current.answer.replace("**", "")[:40]
        everything = lambda: " ".join(str(v) for w in box.children for v in w.get_state().values())  # noqa: E731
        assert mock.current.question.asked[:20] in asked.value and model not in everything() and answer.value == ""
        assert mock.current.question.weak not in everything() and grades.layout.display == "none" and back.disabled
        grades.at = 3  # nothing is graded before one has compared
        assert kept_grades() == {}
        field.value = "because of the bytes"
        show.click()
        assert re.sub(r"<.*?>", "", answer.value).count(mock.current.question.excellent) == 1
        grades.at = 2
        assert kept_grades() == {mock.key: 2} and "1 of 25 questions graded" in said.value
        first = mock.key
        on.click()
        assert mock.key != first and answer.value == "" and field.value == "" and grades.at is None
        assert kept_grades() == {first: 2}
        back.click()
        assert mock.key == first and grades.at == 2 and field.value == "because of the bytes"
        again = mock_interview(answers, seed="a seed")  # another kernel: what was written is back, the answer is closed
        assert again.widget().children[1].value == "because of the bytes" and again.widget().children[3].value == ""
        main(["progress"])
        assert re.search(rf"{first}\s+answered, grade 2 of 3", capsys.readouterr().out)
        on.click()
        field.value = "only said"  # no grade yet
        show.click()
        main(["progress"])
        assert re.search(rf"{mock.key}\s+answered  ", capsys.readouterr().out)
        main(["reset", "A2", "--guesses"])
        assert "2 guesses of notebook A2 forgotten" in capsys.readouterr().out and kept_grades() == {}

    def test_by_hand_without_widgets(self, mock, monkeypatch, capsys, answers):
        real = builtins.__import__

        def refuse(name, *args, **kwargs):
            if name in ("ipywidgets", "anywidget"):
                raise ImportError(name)
            return real(name, *args, **kwargs)

        controls._class.cache_clear()
        monkeypatch.setattr(builtins, "__import__", refuse)
        mock._ipython_display_()
        out = capsys.readouterr().out
        assert mock.current.question.asked in out and mock.current.question.good not in out
        with pytest.raises(ValueError, match="compare first"):
            mock.grade(2)
        assert mock.current.question.good in mock.show()
        for bad in (4, -1, True, "2"):
            with pytest.raises(ValueError, match="0 no answer, 1 weak"):
                mock.grade(bad)
        mock.grade(1)
        assert progress(answers).endswith(f"once more: {mock.key}")
        assert "Question 2 of 10" in mock.go() and "Question 10 of 10" in mock.go(99) and "Question 1 of 10" in mock.go(-99)

    def test_what_is_no_grade_in_the_file_is_no_grade(self, own_guesses, answers):
        own_guesses.write_text(json.dumps({"A2.01": {"grade": "much"}, "A2.02": {"grade": 9}, "00.1": {"grade": 2}}))
        assert kept_grades() == {} and progress(answers) == "no question graded yet"

    def test_the_edition_for_reading_has_all_of_them_folded(self, monkeypatch, answers):
        monkeypatch.setenv("QCOURSE_STATIC", "1")
        seen = []
        monkeypatch.setattr("IPython.display.display", lambda data, **how: seen.append(data))
        mock_interview(answers, seed=1)._ipython_display_()
        (data,) = seen
        assert data["text/html"].count("<details") == data["text/html"].count("<summary>") == 25
        assert "<details open" not in data["text/html"] and all(spoken(a) in data["text/plain"] for a in answers)


class TestTheNotebook:
    def test_its_sources_give_no_answer_away_and_its_prose_types_no_number(self, answers):
        nb = nbformat.read(ROOT / "notebooks" / "A2_interview.ipynb", as_version=4)
        source = "\n".join(c.source for c in nb.cells)
        for a in answers:  # the learner's edition is these sources without outputs
            assert a.question.excellent not in source and a.answer[:60] not in source
        prose = "\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
        prose = re.sub(r"\[[^]]*\]\([^)]*\)|`[^`]*`|§\d|invariants? \d(?: and \d)?|^#+ .*$|\bA\d\b", " ", prose, flags=re.M)
        allowed = {
            "About 40 minutes",
            "Llama 3 with 8 and 70 billion weights",
            "in groups of 64",
            "8.41 to 8.44",
        }  # shapes; a quotation
        for words in allowed:
            assert words in prose
            prose = prose.replace(words, "")
        assert re.findall(r"\S*\d\S*", re.sub(NOMINAL, "", prose)) == []
