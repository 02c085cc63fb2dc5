"""A layer's life, step by step: which call is made, and which tensors the layer holds after it.

LifeView({"W4A16": stages, "AWQ file": other})      # of study.life; two sliders: the format, and the step
"""

import html
from collections.abc import Mapping

from qcourse.study.life import Stages, names_of, total
from qcourse.study.picture import Table
from qcourse.study.widgets import controls, static

CALLS = {
    "from_config": ("config = RulesConfig.from_config(dict)", "once a model: a preset, a dict or the file's own settings "
                    "become rules"),
    "get_quant_method": ("method = config.get_quant_method(layer, prefix)", "the first rule that matches the layer's name "
                         "says how this one is stored"),
    "create_weights": ("method.create_weights(layer, K, [N], …)", "the tensors that the file will fill: names, shapes, "
                       "dtypes, and no memory yet"),
    "load": ("the loader fills them by name", "a missing, surplus, misshapen or mistyped tensor is refused"),
    "process_weights_after_loading": ("method.process_weights_after_loading(layer)", "quantized or repacked for the kernel, "
                                      "which is chosen here; what was loaded is gone"),
    "apply": ("y = method.apply(layer, x, bias)", "y = x Ŵᵀ + bias; nothing is asked, nothing is made"),
}  # fmt: skip
STEPS = tuple(CALLS)


class LifeView:
    """`lives`: what to call it → stages. `format` and `step` are what is shown."""

    def __init__(self, lives: Mapping[str, Stages], format: str | None = None, step: str = STEPS[-1]):
        if not lives or format not in (None, *lives):
            raise ValueError(f"format={format!r}: one of {', '.join(lives)}")
        if step not in STEPS:
            raise ValueError(f"step={step!r}: one of {', '.join(STEPS)}")
        self.lives, self.format, self.step = dict(lives), format or next(iter(lives)), step

    def table(self) -> Table:
        """A row a tensor, a column a step that was made; the last row are the bytes that are taken."""
        stages = self.lives[self.format]
        made = [step for step in STEPS[: STEPS.index(self.step) + 1] if step in stages]
        rows = [
            [name, *(self.cell(stages[step].get(name)) for step in made)]
            for name in names_of({step: stages[step] for step in made})
        ]
        bytes_row = ["bytes", *(f"{total(stages[step]):,}" for step in made)]
        return Table(["tensor", *made], [*rows, bytes_row])

    @staticmethod
    def cell(h) -> str:
        """A tensor, or nothing; brackets around one that is only promised."""
        return "" if h is None else f"[{h}]" if h.promised else str(h)

    def told(self) -> list[str]:
        """The call that is made in this step, and what it is for."""
        call, why = CALLS[self.step]
        return [f"{STEPS.index(self.step) + 1}. {call}", why]

    def html(self) -> str:
        """Both as HTML."""
        call, why = map(html.escape, self.told())
        return f'<div role="status"><b><code>{call}</code></b><br>{why}</div>{self.table().html()}'

    def __repr__(self) -> str:
        return "\n".join([self.format, *self.told(), str(self.table())])

    def widget(self):
        """Two sliders above the table; None when ipywidgets or anywidget is not installed."""

        def move(**to) -> None:
            vars(self).update(to)
            view.value = self.html()

        names = list(self.lives)
        try:
            import ipywidgets

            which = controls.slider("format", names, names.index(self.format), lambda at: move(format=names[at]))
            step = controls.slider("step", list(STEPS), STEPS.index(self.step), lambda at: move(step=STEPS[at]))
        except ImportError:
            return None
        view = ipywidgets.HTML(self.html())
        return ipywidgets.VBox([which, step, view])

    def _ipython_display_(self):
        from IPython.display import display

        box = None if static() else self.widget()
        if box is not None:
            return display(box)
        return display({"text/html": self.html(), "text/plain": repr(self)}, raw=True)
