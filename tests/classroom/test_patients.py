"""A patient each: the roster, the table, and a class that reports on its own patients, a neighbour's, and none."""

import pytest
import torch
from conftest import add, rows, run_grade, stored, text

from qcourse.checks.judge import judge
from qcourse.checks.lab13.own_patient import MY_PATIENT, SIGNS
from qcourse.checks.task import PATIENT, assigning
from qcourse.classroom.patients import hand_out, patient_of, read_roster, read_table, write_table
from qcourse.cli import main
from qcourse.study.clinic import CASES, for_student, patient
from qcourse.study.clinic.case import plain
from qcourse.study.clinic.meter import RIGHT
from tools.labs import notebook

NUMBER = 1  # zero points off by one, in one block or in all
REPORT = """# %%
def my_patient():
    return {}, {!r}, {}


# %%
check("13.6", my_patient)
"""


@pytest.fixture(scope="module")
def mine():
    return patient(NUMBER)


def test_a_class_s_number_draws_the_same_again():
    assert hand_out(["a", "b"], 1) == hand_out(["a", "b"], 1) != hand_out(["a", "b"], 2)


def test_a_roster_becomes_a_table_that_is_read_again_and_never_overwritten(tmp_path, capsys):
    (tmp_path / "roster.csv").write_text("\ufeffName,mail\nada, a@b\n\n Zoë Müller ,z@b\n", encoding="utf-8")
    table = tmp_path / "new" / "patients.csv"
    command = ["patients", str(tmp_path / "roster.csv"), "--out", str(table), "--class-number", "7"]
    main(command)
    assert "2 patients" in (said := capsys.readouterr().out) and "class number 7" in said
    assert read_table(table) == {"ada": for_student("ada", 7), "Zoë Müller": for_student("Zoë Müller", 7)}
    before = table.read_bytes()
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 2 and "exists" in capsys.readouterr().err and table.read_bytes() == before
    assert patient_of(read_table(table), "ada (123)", lms=True) == for_student("ada", 7)
    assert patient_of(read_table(table), "ada (123)") is None  # a file may be called that by anybody
    assert patient_of(read_table(table), "ada") == for_student("ada", 7) and patient_of(read_table(table), "eve") is None


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"", "no name"), (b"student\n", "no name"), (b"ada\nada\n", "more than once"), (b"\xff\xfe\x00", "read as text"),
     (b'ada\n"bob\neve\n', "read as text"), (b",a@b\n", "first column"), (b"=1+1\n", "formula"),
     ("Zoë\nZoe\u0308\n".encode(), "more than once")],
)  # fmt: skip
def test_rosters_that_are_none(tmp_path, data, said):
    (tmp_path / "r.csv").write_bytes(data)
    with pytest.raises(ValueError, match=said):
        read_roster(tmp_path / "r.csv")


def test_how_rosters_are_read(tmp_path):
    """A text file has a name a line, whatever is in it; a .csv its first column, behind commas or semicolons."""
    for name, data, names in (
        ("r.txt", "Doe, Jane\nNg\n", ["Doe, Jane", "Ng"]),
        ("s.csv", "user_name;mail\nJane;x\n", ["Jane"]),
        ("t.csv", '"Doe, Jane",x\nNg,y\n', ["Doe, Jane", "Ng"]),
    ):
        (tmp_path / name).write_text(data)
        assert read_roster(tmp_path / name) == names, name


@pytest.mark.parametrize(
    ("data", "said"),
    [("name,patient\nada,1\n", "first line"), ("student,patient\nada,x\n", "ada,x"), ("student,patient\nada\n", "ada"),
     ("student,patient\nada,1\nada,2\n", "second time"), ("student,patient\nada,4294967296\n", "below"), ("", "first line")],
)  # fmt: skip
def test_tables_that_are_none(tmp_path, data, said):
    (tmp_path / "t").write_text(data)
    with pytest.raises(ValueError, match=said):
        read_table(tmp_path / "t")


def report(number, cause, bits, seed=0):
    return judge(MY_PATIENT, lambda: (number, cause, bits), seed)


def test_a_report_is_right_with_the_cause_and_the_number_and_names_the_patient(mine):
    right, (ill, twin) = mine.case.name, mine.elsewhere
    for value in (twin, torch.tensor(twin), twin + 0.0004):
        assert report(NUMBER, right, value).outcome == "right"
    half = report(NUMBER, right, ill)
    assert (half.outcome, half.score, half.mistake) == ("wrong", 0.6, "nothing mended")
    wrong = report(NUMBER, "swapped nibbles", twin)  # the number without the cause earns nothing
    assert (wrong.outcome, wrong.score) == ("wrong", 0.0) and "here with" in wrong.message
    assert "did you mean" in report(NUMBER, right + "s", twin).message
    assert report(-1, right, twin).score == report(0.5, right, twin).score == 0
    odd = [report("1", right, twin), report(NUMBER, right, "well"), report(NUMBER, right, float("nan"))]
    assert [r.score for r in odd] == [0, 0, 0.6]
    with assigning(NUMBER):
        assert report(NUMBER, right, twin).outcome == "right"
    with assigning(NUMBER + 1):
        foreign = report(NUMBER, right, twin)
        assert (foreign.score, foreign.mistake) == (0, None) and f"is {NUMBER + 1}" in foreign.message
    assert PATIENT.get() is None


def test_wrong_reports_are_known_by_their_signs(mine):
    right, (ill, twin), floats = mine.case.name, mine.elsewhere, RIGHT.read(plain(), mine.other_text).bits
    reports = {
        "the meter taken for the model": ("a double BOS", twin),
        "a neighbour in the tree": ("swapped nibbles", twin),
        "nothing mended": (right, ill),
        "scored on the table's windows": (right, mine.healthy.bits),
        "the 16-bit model scored": (right, floats),
        "nats for bits": (right, twin * 0.693147),
        "mended in part": (right, (ill + twin) / 2),
    }
    assert reports.keys() == SIGNS.keys()
    for name, said in reports.items():
        assert report(NUMBER, *said).mistake == name, name
    assert report(NUMBER, right, 17.0).mistake is None and report(NUMBER, "KV scales of 1.0", twin).mistake is None
    assert CASES["swapped nibbles"].instrument == CASES[right].instrument


def test_the_grader_asks_each_for_their_own(tmp_path, mine):
    """ada treats hers, bob reports on ada's, eve is in no table, and dan has written nothing."""
    right, folder = mine.case.name, tmp_path / "in"
    folder.mkdir()
    for name, told in (("ada", mine.elsewhere[1]), ("bob", mine.elsewhere[1]), ("eve", mine.elsewhere[1])):
        (folder / f"{name}_13_clinic.ipynb").write_bytes(text(notebook(REPORT.format(NUMBER, right, told))))
    empty = notebook("# %%\nx = 1\n")
    (folder / "dan_13_clinic.ipynb").write_bytes(text(add(empty, 'check("13.6", None)')))
    write_table(tmp_path / "t.csv", {"ada": NUMBER, "bob": 5, "dan": 6})
    run_grade(folder, "--out", tmp_path / "out", "--seed", 1, "--patients", tmp_path / "t.csv", "--quiet")
    points = {name: float(row["13.6"]) for name, row in rows(tmp_path / "out").items()}
    assert points == {"ada": 5, "bob": 0, "eve": 5, "dan": 0}
    kept = stored(tmp_path / "out")
    said = {name: next(t for t in r["tasks"] if t["id"] == "13.6")["message"] for name, r in kept.items()}
    assert "handed out to you is 5" in said["bob"] and "handed out" not in said["ada"]
    assert "no patient was handed out to this name" in (tmp_path / "out" / "summary.html").read_text()
    said = run_grade(folder, "--out", tmp_path / "out", "--quiet", code=2)
    assert "give the table again" in said
    write_table(
        tmp_path / "u.csv", {"ada": NUMBER, "bob": NUMBER, "gil": 3}
    )  # bob's number was wrong in the table: graded again
    told = run_grade(folder, "--out", tmp_path / "out", "--patients", tmp_path / "u.csv")
    assert "without a lab 13 (or spelled otherwise): gil" in told
    assert float(rows(tmp_path / "out")["bob"]["13.6"]) == 5
