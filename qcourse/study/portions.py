"""Bytes of a model by part: what the linear layers take, what the embedding, what a head of its own."""

from collections.abc import Mapping

from qcourse.models.llama import LlamaForCausalLM
from qcourse.study.cost import ends_bytes, model_bytes
from qcourse.study.picture import Picture
from qcourse.study.plots import BLUE, GREEN, GREY, ORANGE, described, figure

COLORS = {"linear layers": BLUE, "embedding": ORANGE, "head": GREEN, "norms": GREY}


def portions(model: LlamaForCausalLM) -> dict[str, int]:
    """Measured bytes: "linear layers", "embedding", "head" (0 where it is the embedding), "norms" and what else there is."""
    size, (embedding, head) = model_bytes(model), ends_bytes(model)
    found = {"linear layers": size.linear, "embedding": embedding, "head": head}
    return found | {"norms": size.total - sum(found.values())}


def stacked(rows: Mapping[str, Mapping[str, float]], title: str, xlabel: str, said: Mapping[str, str]) -> Picture:
    """A bar a row, its parts behind each other; `said` is written at its end."""
    fig, ax = figure(1, title, width=9, height=1.2 + 0.4 * len(rows))
    for y, parts in enumerate(rows.values()):
        left = 0.0
        for part, value in parts.items():
            ax.barh(y, value, left=left, color=COLORS[part], height=0.6, edgecolor="white")
            left += value
        ax.annotate(f" {said[list(rows)[y]]}", (left, y), va="center", size=9)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(xlabel=xlabel, ylim=(len(rows) - 0.5, -0.5))
    ax.set_xlim(0, 1.7 * max(sum(parts.values()) for parts in rows.values()))  # room for what is said
    ax.grid(axis="y", visible=False)
    for part, color in COLORS.items():
        ax.barh([0], [0], color=color, label=part)
    fig.legend(loc="outside lower center", ncols=len(COLORS), frameon=False)
    words = "; ".join(f"{name}: {', '.join(f'{p} {v:.3g}' for p, v in parts.items())}" for name, parts in rows.items())
    return described(fig, f"Bars in parts, {xlabel}: {words}.")
