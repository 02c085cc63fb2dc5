"""The figures of the KV cache: what waits in 16 bits, how scales err, a rounding that is dragged, what captures hold.

waiting(args, lengths)        which tokens are codes, and which wait, as a sequence grows
over_scales(x, grids, …)      the error of a fixed scale, from too small to too large
Roundings(heads)              every choice of bits, axis and window on the same keys: `picture` draws one (widgets.kv_view)
added_table, over_contexts    captures of "kv" as a table, as lines
speeds                        captures of benchmarks.kv_attention, as series of plots.lines
"""

from collections.abc import Sequence
from itertools import product

import torch

from qcourse.numerics.granularity import per_group
from qcourse.numerics.grids import Grid
from qcourse.numerics.kv import KVCacheArgs, ranged
from qcourse.shapes import Float, Tensor
from qcourse.study.kv import sequence_bytes
from qcourse.study.kv_profile import Heads, errors, stored
from qcourse.study.picture import Picture, Table
from qcourse.study.plots import BLUE, GREEN, GREY, KINDS, ORANGE, RED, described, figure

BITS, AXES, WINDOWS, G = (2, 4, 8), ("token", "channel"), (0, 32, 128), 32


def parts(args: KVCacheArgs, length: int) -> tuple[int, int, int]:
    """Of the keys of `length` tokens: how many are sinks, how many are codes, how many wait in 16 bits."""
    sinks = min(length, args.sink)
    coded = max(0, length - args.sink - args.window) // args.group * args.group
    return sinks, coded, length - sinks - coded


def waiting(args: KVCacheArgs, lengths: Sequence[int], title: str) -> Picture:
    """A bar a length: the sinks, the codes in their groups, and what waits."""
    fig, ax = figure(1, title, height=1.1 + 0.34 * len(lengths))
    for y, length in enumerate(lengths):
        sinks, coded, rest = parts(args, length)
        groups = [(sinks + at, args.group) for at in range(0, coded, args.group)]
        ax.broken_barh([(0, sinks)], (y - 0.35, 0.7), facecolor=GREEN, edgecolor="white")
        ax.broken_barh(groups, (y - 0.35, 0.7), facecolor=BLUE, edgecolor="white", lw=1.5)
        ax.broken_barh([(sinks + coded, rest)], (y - 0.35, 0.7), facecolor=ORANGE, edgecolor="white", hatch="//")
    ax.set_yticks(range(len(lengths)), [f"{n} tokens" for n in lengths])
    ax.set(xlabel="token (blue: codes in groups; hatched: waiting, 16 bits; green: sinks)", ylim=(len(lengths) - 0.4, -0.6))
    ax.grid(axis="y", visible=False)
    said = "; ".join("{}: {} sinks, {} codes, {} waiting".format(n, *parts(args, n)) for n in lengths)
    return described(fig, f"Bars of keys by token. {said}.")


def fixed_error(x: Tensor, grid: Grid, scale: float) -> float:
    """Relative error of x on a grid under one scale; what lies beyond is clamped."""
    return ((grid.decode(grid.encode(x / scale)) * scale - x).norm() / x.norm()).item()


def over_scales(x: Tensor, grids: dict[str, Grid], powers: Sequence[int], title: str) -> Picture:
    """Lines over scale / (max|x| / limit), in powers of two: left of 1 the loudest are clamped. Diamonds: a scale of 1.0."""
    (fig, ax), said = figure(1, title), []
    for (name, grid), (color, marker, dashes) in zip(grids.items(), KINDS, strict=False):
        best = (x.abs().max() / grid.limit).item()
        lost = [100 * fixed_error(x, grid, best * 2.0**p) for p in powers]
        ax.plot([2.0**p for p in powers], lost, color=color, ls=dashes, marker=marker, ms=4, label=name)
        ax.plot([1 / best], [100 * fixed_error(x, grid, 1.0)], "D", ms=10, color=color, mec="black")
        said.append(f"{name} {fixed_error(x, grid, best):.1%}, {fixed_error(x, grid, 1.0):.1%}")
    ax.set(xscale="log", yscale="log", ylabel="relative error, %", xlabel="scale / (max|x| / the grid's largest number)")
    ax.set_xscale("log", base=2)
    ax.legend(frameon=False)
    return described(fig, f"Error over a fixed scale, calibrated and at 1.0: {'; '.join(said)}.")


class Roundings:
    """Keys of one window in every choice of BITS, AXES and WINDOWS; values by token with the same bits."""

    def __init__(self, heads: Heads, head: int = 0):
        self.heads, self.head, self.found = heads, head, {}
        for bits, axis, window in product(BITS, AXES, WINDOWS):
            args = self.recipe(bits, axis, window)
            size = sequence_bytes(heads.config, heads.k.shape[1], args) / sequence_bytes(heads.config, heads.k.shape[1])
            self.found[bits, axis, window] = 16 * size, errors(heads, args)["output"]
        lost = (stored(heads, self.recipe(4, "token", 0))[0] - heads.k).abs()
        self.top = lost[head].amax().item()  # where the colours of every picture end

    @staticmethod
    def recipe(bits: int, axis: str, window: int) -> KVCacheArgs:
        """Groups of 32 with minima: of channels by token, of tokens by channel."""
        side = ranged(bits, per_group(G))
        return KVCacheArgs(side, side, key_axis=axis, window=window)

    def picture(self, bits: int, axis: str, window: int) -> Picture:
        """Left: |K̂ − K| of one head. Right: bits a number and output error of every choice, this one marked."""
        lost = (stored(self.heads, self.recipe(bits, axis, window))[0] - self.heads.k)[self.head].abs()
        size, output = self.found[bits, axis, window]
        title = f"int{bits}, keys by {axis}, window {window}: {size:.1f} bits a number, output error {output:.1%}"
        fig, (a, b) = figure(2, title, width=9, height=3.4)
        image = a.imshow(lost.T.numpy(), aspect="auto", vmin=0, vmax=self.top, cmap="magma", interpolation="nearest")
        fig.colorbar(image, ax=a)
        a.set(xlabel="token", ylabel="channel", title="|error of K|")
        a.grid(False)
        for of, color, marker in zip(AXES, (ORANGE, BLUE), "so", strict=True):
            mine = [v for (_, other, _), v in self.found.items() if other == of]
            b.plot([x for x, _ in mine], [100 * y for _, y in mine], marker, color=color, ms=5, label=f"keys by {of}")
        b.plot([size], [100 * output], "D", ms=11, mec=RED, mfc="none", mew=2.5)
        b.set(xlabel="bits a number, window and scales counted", ylabel="output error, %", yscale="log", xlim=(0, 16))
        b.legend(frameon=False)
        return described(fig, f"Largest error of a key {lost.max().item():.3g}; the diamond is the choice.")


def added_table(results: dict[str, dict], formats: Sequence[str] | None = None) -> Table:
    """Added bits a byte of each format by the length of the context (kv_contexts), and over all of it."""
    shown = [name for name in results if name != "auto" and (formats is None or name in formats)]
    spans = next(iter(results.values()))["contexts"]
    heads = [f"{s['from']:,}–{s['to']:,}" for s in spans[:-1]]
    plain = results["auto"]["token_bytes"]
    rows = []
    for name in shown:
        *cells, whole = (f"{s['added_bits_per_byte']:+.4f}" for s in results[name]["contexts"])
        whole = f"{whole} ± {results[name]['contexts'][-1]['added_stderr']:.4f}"
        rows.append((name, f"{16 * results[name]['token_bytes'] / plain:.2f}", *cells, whole))
    return Table(("tokens of context", "bits a number", *heads, "all, added bits/byte"), rows)


def over_contexts(results: dict[str, dict], formats: Sequence[str], title: str) -> Picture:
    """Added bits a byte over the context, a line a format."""
    fig, ax = figure(1, title)
    for i, name in enumerate(formats):
        color, marker, dashes = KINDS[i % len(KINDS)]
        spans = results[name]["contexts"][:-1]
        y, e = ([s[key] for s in spans] for key in ("added_bits_per_byte", "added_stderr"))
        ax.errorbar([s["to"] for s in spans], y, yerr=e, color=color, marker=marker, ls=dashes, capsize=3, label=name)
    ends = [s["to"] for s in spans]
    ax.set(xscale="log", yscale="log", xlabel="tokens of context, up to", ylabel="added bits/byte (± paired std. error)")
    ax.set_xticks(ends, [f"{n:,}" for n in ends])
    ax.minorticks_off()
    ax.legend(frameon=False, ncols=2)
    said = "; ".join(f"{n} {results[n]['contexts'][-1]['added_bits_per_byte']:+.4f}" for n in formats)
    return described(fig, f"Lines over the length of the context; over all of it: {said}.")


def first_tokens(share: Float[Tensor, " layers"], sizes: dict[str, Sequence[float]], title: str) -> Picture:
    """By layer. Left: the attention that goes to the first token; right: how large its key and value are."""
    fig, (a, b) = figure(2, title, width=9, height=3.2)
    a.bar(range(len(share)), [100 * s for s in share.tolist()], color=BLUE)
    a.set(xlabel="layer", ylabel="attention to the first token, %", ylim=(0, 100))
    for (name, values), (color, marker, dashes) in zip(sizes.items(), KINDS, strict=False):
        b.plot(values, color=color, marker=marker, ms=3, ls=dashes, label=name)
    b.axhline(1, color=GREY, lw=1, ls="--")
    b.set(xlabel="layer", ylabel="rms / the median token's", ylim=(0, None))
    b.legend(frameon=False)
    said = "; ".join(f"{name} {torch.tensor(list(v)).median():.2f}" for name, v in sizes.items())
    return described(fig, f"Attention up to {100 * share.max():.0f} %; sizes in the median layer: {said}.")


def speeds(results: Sequence[dict], shape: str, peer: str = "over_16_bits") -> dict[str, dict[int, float]]:
    """Rows of benchmarks.kv_attention for one head shape: format → context → how many times faster than a peer.

    Raises ValueError for a shape that was not measured, naming those that were.
    """
    found = {}
    for r in results:
        if r["shape"] == shape:
            found.setdefault(r["format"], {})[r["context"]] = r[peer]
    if not found:
        raise ValueError(f"shape={shape!r}: measured are {', '.join(dict.fromkeys(r['shape'] for r in results))}")
    return found
