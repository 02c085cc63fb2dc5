"""Every number that the course says about SmolLM2, measured: `python -m benchmarks.smollm2 [EXPERIMENT ...] [--out FOLDER]`.
With `--subject shipped`, the same experiments on the model that ships with the course.

One JSON an experiment, with device, date, versions, command, text and protocol, in runs/captures/ (those that the course
replays lie in captures/). The same command continues an interrupted run, and leaves alone what is complete. Several hours
on two cores for all of them, after `qcourse fetch smollm2`.
"""

import argparse
from pathlib import Path

from benchmarks import smollm2_speed
from qcourse.study.experiments import EXPERIMENTS
from qcourse.study.measured import capture_file, keep


def main() -> None:
    """Make the experiments named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = ", ".join([*EXPERIMENTS, "speed (of smollm2)"])
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=f"{known} (default: all)")
    parser.add_argument("--out", type=Path, default=Path("runs/captures"), help="default runs/captures")
    parser.add_argument("--subject", default="smollm2", choices=("smollm2", "shipped"), help="default smollm2")
    args = parser.parse_args()
    of = "" if args.subject == "smollm2" else f" --subject {args.subject}"
    names = [*EXPERIMENTS] if of else [*EXPERIMENTS, "speed"]
    unknown = [name for name in args.experiments if name not in names]
    if unknown:
        parser.error(f"no experiment {unknown[0]!r}: one of {', '.join(names)}")
    try:
        for name in args.experiments or names:
            command = f"python -m benchmarks.smollm2 {name}{of}"
            if name == "speed":
                smollm2_speed.keep(capture_file(args.out, name), command)
            else:
                keep(name, args.out, command, args.subject)
    except ValueError as e:  # no subject here, another run's file
        parser.error(str(e))


if __name__ == "__main__":
    main()
