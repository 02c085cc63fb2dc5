"""Names beside many points, none over another: the nearest free place around each point, in pixels."""

import math
from collections.abc import Sequence

Box = tuple[float, float, float, float]  # left, bottom, right, top
DIRECTIONS = [i * math.pi / 8 for i in (0, 1, 15, 2, 14, 8, 7, 9, 3, 13, 5, 11, 4, 12, 6, 10)]  # right first


def overlap(a: Box, b: Box) -> bool:
    """Whether two boxes share a point."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def place(points: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], inside: Box, gap: float = 7.0):
    """A box for each name (width, height), as near to its point as there is room, within `inside`; the earlier choose first.

    >>> place([(10, 10)], [(20, 8)], (0, 0, 100, 100))
    [(17.0, 6.0, 37.0, 14.0)]

    A name that finds no room within 160 pixels lies right of its point, whatever is there.
    """
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in points]
    found = []
    for (x, y), (width, height) in zip(points, sizes, strict=True):
        boxes = [around(x, y, width, height, gap + 6 * ring, angle) for ring in range(26) for angle in DIRECTIONS]
        free = (b for b in boxes if within(b, inside) and not any(overlap(b, t) for t in taken))
        box = next(free, boxes[0])
        taken.append(box)
        found.append(box)
    return found


def around(x: float, y: float, width: float, height: float, far: float, angle: float) -> Box:
    """A box that begins `far` away from (x, y) in the direction of `angle`."""
    cos, sin = math.cos(angle), math.sin(angle)
    left = x + far * cos - (0 if cos > 0.3 else width if cos < -0.3 else width / 2)
    bottom = y + far * sin - height / 2
    return left, bottom, left + width, bottom + height


def within(box: Box, outer: Box) -> bool:
    """Whether a box lies in another."""
    return box[0] >= outer[0] and box[1] >= outer[1] and box[2] <= outer[2] and box[3] <= outer[3]
