"""What benchmarks.gemm_cpu found, as tables and a figure."""

from qcourse.study import plots


def decode_table(r: dict) -> str:
    """One token: milliseconds, bytes a second, and what that is worth against torch."""
    one, bandwidth = r["seconds"]["bfloat16"]["1"], r["read_bandwidth"]
    lines = [
        "| M = 1, bf16 x | ms (quartiles) | GB/s | of read bandwidth | × torch bf16 | × torch's packed op |",
        "|---" * 6 + "|",
    ]
    for name, size in (("torch 16/32-bit", "bf16"), ("int4 chosen", "int4"), ("int4 torch", "int4"),
                       ("int8 chosen", "int8"), ("int8 torch", "int8")):  # fmt: skip
        t, rate = one[name], r["bytes"][size] / one[name][0]
        packed = f"{one[f'{size} torch'][0] / t[0]:.2f}" if size != "bf16" else ""
        cells = (name, "{1:.2f} ({0:.2f}–{2:.2f})".format(*sorted(1e3 * s for s in t)), f"{rate / 1e9:.1f}")
        ratios = (f"{rate / bandwidth:.0%}", f"{one['torch 16/32-bit'][0] / t[0]:.2f}", packed)
        lines.append(f"| {' | '.join((*cells, *ratios))} |")
    return "\n".join(lines)


def sweep_table(by_tokens: dict, title: str) -> str:
    """Milliseconds by number of tokens: a column a contender."""
    names = list(next(iter(by_tokens.values())))
    lines = [f"| {title}: M | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for M, row in by_tokens.items():
        cells = (f"{row[n][0] * 1e3:.3f}" if n in row else "" for n in names)
        lines.append(f"| {M} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(r: dict):
    """Time a token against M, log–log: flat is memory-bound no more."""
    by_tokens = r["seconds"]["bfloat16"]
    names = ("torch 16/32-bit", "int4 chosen", "int8 chosen", "int4 torch", "w8a8 torch")
    series = {n: [1e6 * row[n][0] / int(M) for M, row in by_tokens.items()] for n in names}
    title = "Few tokens: fewer bytes win. Many tokens: weight-only formats meet bf16 again"
    return plots.lines(
        [int(M) for M in by_tokens],
        series,
        title,
        "tokens M",
        f"µs a token, W {tuple(r['shape'][:2])}",
        logx=True,
        logy=True,
    )
