"""Keys that are rounded while one drags: bits, the axis that shares a scale, and the window that stays in 16 bits.

kv_view(heads)      # of study.kv_profile; three sliders, the error of every key, and what attention gathers
"""

from qcourse.study.kv_figures import AXES, BITS, WINDOWS, Roundings
from qcourse.study.kv_profile import Heads
from qcourse.study.widgets.explore import Explorer, explore

FIRST = {"bits": 4, "axis": "token", "window": 0}  # what is shown first


def kv_view(heads: Heads, head: int = 0) -> Explorer:
    """An explorer over `Roundings(heads, head)`: where it is still, it is the picture of FIRST.

    Raises ValueError for a head that there is not.
    """
    if not 0 <= head < len(heads.k):
        raise ValueError(f"head={head}: the layer has {len(heads.k)} key-value heads")
    choices = {"bits": BITS, "axis": AXES, "window": WINDOWS}
    ordered = {name: [FIRST[name], *(o for o in options if o != FIRST[name])] for name, options in choices.items()}
    return explore(Roundings(heads, head).picture, **ordered)
