"""`qcourse bench` and `qcourse zoo`, and what options of formats have in common."""

import os
from pathlib import Path

from qcourse.models import option_types
from qcourse.models.subjects import SHIPPED
from qcourse.options import Outcome, Parser, above_zero, checked, did_you_mean, number

BENCH = """\
examples:
  qcourse bench --decode
  qcourse bench --decode --model smollm2 --formats as-is,W4A16_G64 --context 512 --threads 2
"""
ZOO = """\
examples:
  qcourse zoo                                  both models, from the captures
  qcourse zoo --model shipped --measure        measured here (minutes)
"""
OPEN = "smollm2, a folder or a .gguf file (default: the shipped model)"


def formats():
    """An option's type: formats with commas between; completed one by one, checked where they are used."""
    return checked(lambda text: None, lambda: ["bf16", "as-is", *option_types.schemes()], listed=True)


def add_bench(p: Parser) -> None:
    """`--decode`: where a decode step's time goes. All it does is print a table, so it has no --quiet."""
    p.epilog = BENCH
    p.add_argument("--decode", action="store_true", required=True, help="one user, one token a step")
    p.add_argument("--formats", type=formats(), default="bf16,W8A16,W4A16,W4A8_G128", metavar="LIST",
                   help="schemes with commas between, as-is for the file's own (default %(default)s)")  # fmt: skip
    p.add_argument("--model", type=option_types.source, default=SHIPPED, metavar="MODEL", help=OPEN)
    p.add_argument("--context", type=above_zero(int), default=64, metavar="N", help="tokens before the step (default 64)")
    p.add_argument("--threads", type=number(int, 1, os.cpu_count() or 1), metavar="N", help="default: torch's")
    p.set_defaults(run=run_bench)


def add_zoo(p: Parser) -> None:
    """Every scheme of the registry: bits against quality."""
    p.epilog = ZOO
    names = checked(lambda text: None, option_types.subjects, listed=True)
    p.add_argument("--model", type=names, default="shipped,smollm2", metavar="LIST",
                   help="shipped, smollm2, or both with a comma between (default: both, replayed)")  # fmt: skip
    p.add_argument(
        "--captures", type=Path, default=Path("captures"), metavar="FOLDER", help="of captures (default captures)"
    )
    p.add_argument("--out", type=Path, default=Path("runs"), metavar="FOLDER", help="for the pictures (default runs)")
    p.add_argument("--measure", action="store_true",
                   help="measure here what the captures lack (minutes; SmolLM2: an hour), kept there")  # fmt: skip
    p.set_defaults(run=run_zoo)


def run_zoo(args) -> Outcome:
    """Measure if asked to, print a table for each subject as it is there, write two pictures each."""
    from dataclasses import asdict

    from qcourse.study.measured import capture_file, keep, replay
    from qcourse.study.zoo import animals, config_of, fitting
    from qcourse.study.zoo_picture import AXES, picture, table

    subjects, known, data = names_in(args.model), option_types.subjects(), {}
    if not subjects or set(subjects) - set(known):
        near = "".join(did_you_mean(s, known) for s in subjects)
        raise ValueError(f"--model {args.model!r}: one or more of {', '.join(known)} expected{near}")
    for subject in subjects:
        if args.measure:
            args.captures.mkdir(parents=True, exist_ok=True)
            keep("zoo", args.captures, f"qcourse zoo --measure --model {subject}", subject)
        file = capture_file(args.captures, "zoo", subject)
        if not file.exists():
            raise ValueError(
                f"{file}: no such capture: the course's folder holds some (--captures), --measure makes one here"
            )
        found = replay(file)
        zoo, refused = animals(found.results), fitting(config_of(found.results))[1]
        args.out.mkdir(parents=True, exist_ok=True)
        print(f"{found.said}\n\n{table(zoo)}\n")
        for name, why in refused.items():
            print(f"{name} does not fit: {why}")
        pictures = [args.out / f"zoo-{subject}-{axis}.png" for axis in AXES]
        for axis, path in zip(AXES, pictures, strict=True):
            path.write_bytes(picture(zoo, subject, axis).png())
            print(f"drawn: {path}")
        data[subject] = {"said": found.said, "formats": [asdict(a) for a in zoo], "does_not_fit": refused, "drawn": pictures}
    return Outcome(data=data)


def names_in(text: str) -> list[str]:
    """What stands between commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def run_bench(args) -> Outcome:
    """Measure, one format after the other."""
    from dataclasses import asdict

    from qcourse.study.breakdown import measure_decode, table

    wanted = names_in(args.formats)
    if not wanted:
        raise ValueError("--formats names no format")
    said, found = measure_decode(args.model, wanted, args.context, args.threads)
    data = {"said": said, "formats": {name: asdict(b) | {"parts": b.parts} for name, b in found.items()}}
    return Outcome(f"{said}\n\n{table(found)}", data)
