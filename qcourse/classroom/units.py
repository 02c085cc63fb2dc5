"""From files to rows: one unit for each student and lab, and never two students' work in one row.

Of several files that one source vouches for (a student's folder, an archive, an LMS's user number) the last one counts.
A name alone vouches for little: `ann (2).ipynb`, or `ann` in another spelling, may be anybody's. So two files that only
share a name are two rows; the plainest name keeps it, the other row is named after its file, and the teacher is told.
"""

from collections import defaultdict
from dataclasses import dataclass, replace

from qcourse.classroom.limits import Limits
from qcourse.classroom.names import readable
from qcourse.classroom.notebook import NotANotebook, parse
from qcourse.classroom.patients import LAB, patient_of
from qcourse.classroom.results import fingerprint
from qcourse.classroom.submissions import Found

MB = 1 << 20
SEVERAL = "several files bear this name"


@dataclass(frozen=True)
class Unit:
    """One student's notebook for one lab: what gets one row in the grades."""

    student: str
    lab: str
    found: Found
    mark: str  # fingerprint of what its result depends on
    reason: str | None  # why it cannot be run
    notes: tuple[str, ...]
    look: tuple[str, ...] = ()  # for the teacher only: it may name others
    patient: int | None = None  # of the clinic, handed out to this student; None: any


def plan(
    files: list[Found], labs: dict, seed: int, limits: Limits, seeds: int = 3, patients: dict[str, int] | None = None
) -> list[Unit]:
    """One unit for each student and lab, ordered; each file is read once, and one at a time. patients: who has which."""
    grouped = defaultdict(list)
    for found in sorted(files, key=lambda f: (f.student, f.order, f.name)):
        unit = unit_of(found, labs, seed, limits, seeds, patients)
        grouped[unit.student, unit.lab].append(unit)
    units = [u for group in grouped.values() for u in apart(group)]
    return unique(sorted(alike(units), key=lambda u: (u.student, u.lab)))


def unique(units: list[Unit]) -> list[Unit]:
    """The same units, none with the name and lab of another: a file may be called what another row was named."""
    taken, done = set(), []
    for unit in units:
        student = unit.student
        while (student, unit.lab) in taken:
            student += " (again)"
        taken.add((student, unit.lab))
        done.append(replace(unit, student=student))
    return done


def unit_of(found: Found, labs: dict, seed: int, limits: Limits, seeds: int, patients: dict[str, int] | None = None) -> Unit:
    """What one file asks for. Whatever it does while it is read becomes its reason."""
    lab, mark, reason, patient, look = "", "", None, None, ()
    try:
        data = found.read(int(limits.notebook_mb * MB))
        lab = parse(data, found.name).lab or ""
        if lab == LAB and patients is not None:
            patient = patient_of(patients, found.student, found.owner.source[0] == "lms")
            look = () if patient is not None else ("no patient was handed out to this name: any patient was taken",)
        told = {} if patient is None else {"patient": patient}
        mark = fingerprint(data, seed, {"seeds": seeds} | vars(limits) | told)
        if lab not in labs:
            said = f"lab {lab} has no tasks to grade" if lab else "no cell checks a task, and its name names no lab"
            reason = f"which lab is it? {said}; known: {', '.join(labs)}"
    except NotANotebook as e:
        reason, lab = str(e), parse_name(found.name)
    except Exception as e:
        reason, lab = f"it cannot be read ({type(e).__name__}: {readable(str(e))})", parse_name(found.name)
    return Unit(found.student, lab, found, mark, reason, ("handed in late",) if found.late else (), look, patient)


def parse_name(name: str) -> str:
    """The lab that a file's name names, for files that cannot be read; "" if it names none."""
    return parse(b'{"cells": []}', name).lab or ""


def apart(group: list[Unit]) -> list[Unit]:
    """Files of one name and lab, in order of time: the last of each source; sources that differ are rows of their own."""
    own = defaultdict(list)
    for unit in group:
        own[unit.found.owner.source].append(unit)
    last = sorted(map(counts, own.values()), key=lambda u: (u.found.owner.plain, u.found.owner.source))
    first, rest = (
        last[0],
        [u for u in last[1:] if not (u.mark and u.mark == last[0].mark)],
    )  # same bytes: no riddle
    if not rest:
        return [first]
    names = ", ".join(shown(u) for u in [first, *rest])
    said = (f"{SEVERAL}, and nothing says that they are one student's: {names}; a row for each",)
    rows = [first, *(replace(u, student=f"{u.student} [{shown(u)}]") for u in rest)]
    return [replace(u, look=(*u.look, *said)) for u in rows]


def counts(units: list[Unit]) -> Unit:
    """The last one that can be read; the last one if none can."""
    chosen = ([u for u in units if u.reason is None] or units)[-1]
    if len(units) == 1:
        return chosen
    others = ", ".join(u.found.name for u in units if u is not chosen)[:300]
    return replace(chosen, notes=(*chosen.notes, f"handed in more than once; {chosen.found.name} counts, not {others}"))


def shown(unit: Unit) -> str:
    """The outermost name of a file, as it was spelled: what tells it from another of that name."""
    spelled = unit.found.owner.source[1]
    same = readable(spelled) if readable(spelled) == spelled else ascii(spelled)[1:-1]  # "Zoe\\u0308" is not "Zo\\xeb"
    return readable(same)


def alike(units: list[Unit]) -> list[Unit]:
    """The same units; those whose names a reader would take for one say so."""
    names = defaultdict(set)
    for unit in units:
        names[unit.found.owner.like].add(unit.student)
    done = []
    for unit in units:
        others = sorted(names[unit.found.owner.like] - {unit.student})
        if others and not any(said.startswith(SEVERAL) for said in unit.look):
            said = f"this name looks like {', '.join(others)[:200]}: one student, or two?"
            unit = replace(unit, look=(*unit.look, said))
        done.append(unit)
    return done
