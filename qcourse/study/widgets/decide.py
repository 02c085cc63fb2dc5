"""Which constraint binds you → which family. The first question to ask, before any format is named."""

from qcourse.study.widgets import controls, static

DECISIONS = {
    "The weights do not fit the memory": (
        "weight-only 4-bit: AWQ or GPTQ, W4A16",
        "Invariant 1: bytes are the problem, and weights are most of them. Below 4 bits quality falls quickly.",
    ),
    "One user waits for each token (decode, small batch)": (
        "weight-only 4-bit, with a kernel made for it",
        "Invariants 1 and 4: each step reads every weight once; without a matching kernel 4-bit is slower than bf16.",
    ),
    "Many users at once, or long prompts (large batch, prefill)": (
        "FP8 or INT8 W8A8",
        "Invariant 3: arithmetic binds, so both sides of the matmul must be narrow; weight-only multiplies in bf16.",
    ),
    "Long contexts: the KV cache fills the memory": (
        "an FP8 KV cache, with whatever weights you have",
        "Invariant 6: a separate axis. It halves the bytes of a block, so twice the blocks fit.",
    ),
    "Quality must hardly move": (
        "W8A16 or FP8 per channel and token",
        "Invariant 2: at 8 bits per channel the damage is hardly measurable; measure it, paired, on your own text.",
    ),
}


class Decision:
    """A list of constraints; `answer` is the family for the chosen one, and why."""

    def __init__(self, constraint: str = next(iter(DECISIONS))):
        self.constraint = constraint

    @property
    def answer(self) -> str:
        """The family and the reason, as text. Raises KeyError for a constraint that is not in the list."""
        family, why = DECISIONS[self.constraint]
        return f"{family}\n{why}"

    def __repr__(self) -> str:
        return "\n\n".join(f"{c}:\n  → {family}\n    {why}" for c, (family, why) in DECISIONS.items())

    def widget(self):
        """A radio group above the answer, or None when ipywidgets or anywidget is not installed."""
        names = list(DECISIONS)

        def show(at: int) -> None:
            self.constraint = names[at]
            family, why = DECISIONS[self.constraint]
            view.value = f'<div role="status"><b>→ {family}</b><br>{why}</div>'

        try:
            import ipywidgets

            radio = controls.radio("What binds you?", names, names.index(self.constraint), show)
        except ImportError:
            return None
        view = ipywidgets.HTML()
        show(radio.at)
        return ipywidgets.VBox([radio, view])

    def _ipython_display_(self):
        from IPython.display import display

        box = None if static() else self.widget()
        display(box) if box is not None else print(repr(self))
