"""What a hand moves: sliders that announce their value, radio groups for the arrow keys, bits to click, a curve to draw.

They are native inputs in `controls.js`, shown by anywidget.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent


@cache
def _class():
    """The widget class, made when first asked for: notebooks without widgets never import it."""
    import anywidget
    import traitlets

    class Control(anywidget.AnyWidget):
        _esm, _css = HERE / "controls.js", HERE / "controls.css"
        kind, name = traitlets.Unicode().tag(sync=True), traitlets.Unicode().tag(sync=True)
        options, ends = traitlets.List([]).tag(sync=True), traitlets.List(["", ""]).tag(sync=True)
        values, shades = traitlets.List([]).tag(sync=True), traitlets.List([]).tag(sync=True)
        at = traitlets.Int(None, allow_none=True).tag(sync=True)

    return Control


def control(kind: str, name: str, moved: Callable, **state):
    """A control whose change calls `moved(what it now holds)`: its option's index (`at`), or its `values`.

    Raises ImportError where anywidget is not installed.
    """
    made = _class()(kind=kind, name=name, **state)
    made.observe(lambda change: moved(change["new"]), names="values" if "values" in state else "at")
    return made


def slider(name: str, options: list[str], at: int, moved: Callable):
    """A slider over named options."""
    return control("slider", name, moved, options=options, at=at)


def radio(name: str, options: list[str], at: int | None, moved: Callable):
    """One of several options."""
    return control("radio", name, moved, options=options, at=at)


def bits(name: str, values: list[int], shades: list[str], moved: Callable, options: list[str] = ()):
    """Bits to click, the highest first; `shades` ("0", "1", "2", with " qc-gap" for a space behind) colours them, `options`
    names them. Their number may change later."""
    return control("bits", name, moved, values=values, shades=shades, options=list(options))


def sketch(name: str, options: list[str], values: list[float], ends: tuple[str, str], moved: Callable):
    """A curve over named places, drawn with the mouse or the arrow keys; heights 0 … 1, `ends` names those two."""
    return control("sketch", name, moved, options=options, values=values, ends=list(ends))
