"""`qcourse eval`, `qcourse capture` and `qcourse bench`: the options of the three meters."""

from pathlib import Path


def add_eval(commands) -> None:
    """`qcourse eval` and `qcourse capture`: three meters for each format."""
    from qcourse.models.command import above_zero, source
    from qcourse.models.subjects import SHIPPED
    from qcourse.study.families import DEFAULT

    for name, text in (("eval", "measure formats: speed, memory, quality"), ("capture", "eval, kept under captures/")):
        p = commands.add_parser(name, help=text)
        p.add_argument(
            "--formats",
            help=f"comma-separated schemes, with +smoothquant or +awq (default {','.join(DEFAULT)}; as-is where the "
            "weights are quantized already)",
        )  # fmt: skip
        p.add_argument("--group-size", type=above_zero(int), help="instead of 128, for schemes with groups")
        p.add_argument(
            "--model",
            type=source,
            default=SHIPPED,
            help="smollm2, a folder or a .gguf file (default: the shipped model)",
        )
        p.add_argument("--dequantize", action="store_true", help="formats of a source that is quantized already")
        p.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
        p.add_argument("--windows", type=above_zero(int), default=64, help="windows of held-out text (default 64)")
        p.add_argument("--seq-len", type=above_zero(int), default=256, help="tokens a window (default 256)")
        p.add_argument(
            "--budget-mb", type=above_zero(float), help="budget for weights + KV blocks (default 4 × the model in bf16)"
        )
        p.add_argument("--kv-cache", help="how the context is kept: int8_per_token_head, int4_kivi … (default: 16 bits)")
        p.add_argument("--json", type=Path, help="results, written after every format (default runs/eval-…)")
        p.add_argument(
            "--engine", default="qcourse", choices=("qcourse", "vllm"), help="vllm: the installed vLLM serves MODEL"
        )
        p.add_argument("--harness", action="store_true", help="a local task through lm-eval instead")
        p.set_defaults(run=run_eval, capture=name == "capture")


def add_bench(commands) -> None:
    """`qcourse bench --decode`: where a decode step's time goes."""
    from qcourse.models.command import above_zero, source
    from qcourse.models.subjects import SHIPPED

    p = commands.add_parser("bench", help="where the time of a decode step goes: bytes, kernels, Python")
    p.add_argument("--decode", action="store_true", required=True, help="one user, one token a step")
    p.add_argument(
        "--formats", default="bf16,W8A16,W4A16,W4A8_G128", help="comma-separated schemes, as-is for the file's own"
    )
    p.add_argument(
        "--model", type=source, default=SHIPPED, help="smollm2, a folder or a .gguf file (default: the shipped model)"
    )
    p.add_argument("--context", type=above_zero(int), default=64, help="tokens before the step (default 64)")
    p.add_argument("--threads", type=above_zero(int), help="default: torch's")
    p.set_defaults(run=run_bench)


def add_zoo(commands) -> None:
    """`qcourse zoo`: every scheme of the registry, bits against quality."""
    p = commands.add_parser(
        "zoo", help="every format: true bits a weight against what the model loses, as table and picture"
    )
    p.add_argument(
        "--model", default="shipped,smollm2", help="comma-separated subjects: shipped, smollm2 (default: both, replayed)"
    )
    p.add_argument("--captures", type=Path, default=Path("captures"), help="folder of the captures (default: captures)")
    p.add_argument("--out", type=Path, default=Path("runs"), help="folder for the pictures (default: runs)")
    p.add_argument(
        "--measure", action="store_true", help="measure here what the captures lack (minutes; SmolLM2: an hour), kept there"
    )
    p.set_defaults(run=run_zoo)


def run_zoo(args) -> None:
    """Measure if asked to, print a table for each subject, write two pictures each."""
    from qcourse.models.subjects import SUBJECTS
    from qcourse.study.measured import capture_file, keep, replay
    from qcourse.study.zoo import animals, config_of, fitting
    from qcourse.study.zoo_picture import AXES, picture, table

    subjects = [s.strip() for s in args.model.split(",") if s.strip()]
    known = ("shipped", *SUBJECTS)
    if not subjects or set(subjects) - set(known):
        raise ValueError(f"--model {args.model!r}: one or more of {', '.join(known)} expected")
    for subject in subjects:
        if args.measure:
            args.captures.mkdir(parents=True, exist_ok=True)
            keep("zoo", args.captures, f"qcourse zoo --measure --model {subject}", subject)
        found = replay(capture_file(args.captures, "zoo", subject))
        zoo, refused = animals(found.results), fitting(config_of(found.results))[1]
        print(f"{found.said}\n\n{table(zoo)}\n")
        for name, why in refused.items():
            print(f"{name} does not fit: {why}")
        args.out.mkdir(parents=True, exist_ok=True)
        for axis in AXES:
            path = args.out / f"zoo-{subject}-{axis}.png"
            path.write_bytes(picture(zoo, subject, axis).png())
            print(f"drawn: {path}")


def run_bench(args) -> None:
    """Print the table."""
    from qcourse.study.breakdown import bench_decode

    formats = [f.strip() for f in args.formats.split(",") if f.strip()]
    if not formats:
        raise ValueError("--formats names no format")
    print(bench_decode(args.model, formats, args.context, args.threads))


def run_eval(args) -> None:
    """Measure, print the table, and for `capture` keep the JSON with device, date, versions and command."""
    from datetime import date

    from qcourse.models.loader import open_checkpoint
    from qcourse.models.subjects import SUBJECTS, name_of
    from qcourse.study.evaluate import evaluate, markdown
    from qcourse.study.families import AS_IS, DEFAULT
    from qcourse.study.fit import legal_group

    if args.engine == "vllm" or args.harness:
        return run_other_engine(args)
    folder, stamp = ("captures", f"-{date.today()}") if args.capture else ("runs", "")
    out = args.json or Path(folder) / f"eval-{args.device}-{args.model.name}{stamp}.json"
    budget = None if args.budget_mb is None else args.budget_mb * 1e6
    group_size = args.group_size
    if args.formats is not None:
        formats = [f.strip() for f in args.formats.split(",") if f.strip()]
    elif open_checkpoint(args.model).quantization and not (args.dequantize or name_of(args.model) in SUBJECTS):
        formats = [AS_IS]
    else:
        formats, group_size = list(DEFAULT), group_size or legal_group(args.model)
    more = {"budget_bytes": budget, "group_size": group_size, "dequantize": args.dequantize}
    more["kv_cache"] = args.kv_cache
    report = evaluate(args.model, formats, args.device, out, args.windows, args.seq_len, **more)
    print(f"{markdown(report)}\n\nwritten to {out}; the same command continues an interrupted run")


def run_other_engine(args) -> None:
    """`--engine vllm` and `--harness`: the model as it is, through somebody else's code. Prints (and writes) JSON."""
    from qcourse.study.elsewhere import measure_elsewhere

    engine = "harness" if args.harness else args.engine
    budget = (args.budget_mb or 1000) * 1e6
    print(measure_elsewhere(engine, args.model, args.windows, args.seq_len, args.device, budget, args.json))
