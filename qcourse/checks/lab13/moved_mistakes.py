"""The known mistakes of 13.2: one question of the five asked in another way."""

import torch

from qcourse.checks.lab13.moved_variants import (
    anything,
    asked,
    columnwise,
    columnwise_with_zeros,
    counted,
    moves,
    nearly,
    neighbours,
    rows_of,
    same,
    values,
)
from qcourse.checks.task import Mistake

MISTAKES = (
    Mistake(
        "histograms compared",
        asked(equal=lambda a, b: same(values(a), values(b))),
        "You compared how often each code is there, or a mean. Codes in each other's place, and rows in another order, "
        "leave the histogram as it was. What does one have to compare to see that a code stands elsewhere?",
        "The twin's codes are the twin's code by code, each in its place.",
        also=(
            asked(equal=lambda a, b: bool(a.float().mean() == b.float().mean())),
            asked(equal=lambda a, b: same(values(a), values(b)), moved=anything),
        ),
    ),
    Mistake(
        "zero points never looked at",
        asked(same_zeros=anything, swap_zeros=anything, rows=lambda c, z, tc, tz: counted(c, c[:, :0], tc, tc[:, :0])),
        "Your answer depends on the codes alone. The same code means another weight when its zero point moves. Which of the "
        "four arguments have you not asked anything yet?",
        "A weight is (code − zero point) · scale: both have to be the twin's.",
        also=(
            asked(same_zeros=anything, swap_zeros=anything),
            asked(same_zeros=anything, rows=lambda c, z, tc, tz: counted(c, c[:, :0], tc, tc[:, :0])),
            asked(same_zeros=anything),
        ),
    ),
    Mistake(
        "every move of a zero point taken for one step",
        asked(moved=anything),
        "The codes are the twin's and the zero points are not, and you called that “zero points” whatever they did. The "
        "accident has a size: all by one. What do two steps, or a single one that moved, have to do with it?",
        "Zero points: all of them by one, and all in the same direction.",
        also=(asked(moved=lambda z, tz: bool((moves(z, tz) != 0).all())),),
    ),
    Mistake(
        "up and down at once",
        asked(moved=lambda z, tz: bool((moves(z, tz).abs() == 1).all())),
        "You asked how far each zero point moved, or how far they moved on the whole, and not whether they went the same "
        "way. A reader that forgets a + 1 forgets it everywhere. Which single number has to be the move of all?",
        "Zero points: all of them by one, and all in the same direction.",
        also=(
            asked(moved=lambda z, tz: bool(moves(z, tz).float().mean().abs() == 1)),
            asked(moved=lambda z, tz: bool(moves(z, tz).float().abs().mean() == 1)),
            asked(moved=lambda z, tz: bool((moves(z, tz).abs() == 1).any())),
        ),
    ),
    Mistake(
        "one direction only",
        asked(moved=lambda z, tz: bool((moves(z, tz) == 1).all())),
        "Zero points that went the other way are not found: up is asked for and down is not, or a difference of uint8 was "
        "taken. 3 − 4 is 255 there. In which dtype has a difference a sign?",
        "Zero points: by one up, or by one down.",
        also=(asked(moved=lambda z, tz: bool((moves(z, tz) == -1).all())), asked(moved=lambda z, tz: False)),
    ),
    Mistake(
        "neighbours along N",
        asked(swap=lambda t: neighbours(t, 0)),
        "You exchanged rows, which is neighbours along N. A byte holds two codes of one row, and the row runs along K. "
        "Which axis of codes (N, K) is that?",
        "Nibbles: columns 2j and 2j + 1 in each other's place.",
        also=(
            asked(swap=lambda t: neighbours(t, 0), swap_zeros=anything),
            asked(order="zprn", swap=lambda t: neighbours(t, 0)),
            asked(order="zprn", swap=lambda t: neighbours(t, 0), swap_zeros=anything),
        ),
    ),
    Mistake(
        "another exchange of columns",
        asked(swap=lambda t: t.unflatten(1, (-1, 8)).flip(2).flatten(1)),
        "You moved columns, and not each code to its neighbour: runs of more than two were reversed, halves exchanged, or "
        "all were shifted by one. A byte holds two codes. Where does column 0 go, where column 1, and where column 2?",
        "Nibbles: columns 2j and 2j + 1 in each other's place.",
        also=(
            asked(swap=lambda t: t.flip(1)),
            asked(swap=lambda t: t.roll(1, 1)),
            asked(swap=lambda t: t.roll(-1, 1)),
            asked(swap=lambda t: t.unflatten(1, (-1, 4)).flip(2).flatten(1)),
            asked(swap=lambda t: torch.cat((t[:, 1::2], t[:, ::2]), 1)),
            asked(swap=lambda t: torch.cat((t[:, ::2], t[:, 1::2]), 1)),
            asked(swap=lambda t: t.roll(t.shape[1] // 2, 1)),
        ),
    ),
    Mistake(
        "rows without their zero points",
        asked(rows=lambda c, z, tc, tz: counted(c, c[:, :0], tc, tc[:, :0])),
        "You put the rows of codes in order, and left the zero points out of it. If the codes of a row moved and its zero "
        "points stayed, that is another accident, and putting the rows back mends only half. What belongs to a row?",
        "Rows: codes and zero points of a row move together.",
        also=(
            asked(rows=lambda c, z, tc, tz: counted(c, c[:, :0], tc, tc[:, :0]) and counted(z, z[:, :0], tz, tz[:, :0])),
            asked(rows=lambda c, z, tc, tz: counted(c, c[:, :0], tc, tc[:, :0]) and same(z, tz)),
            asked(rows=lambda c, z, tc, tz: set(rows_of(c, c[:, :0])) == set(rows_of(tc, tc[:, :0]))),
        ),
    ),
    Mistake(
        "how often a row is there",
        asked(rows=lambda c, z, tc, tz: set(rows_of(c, z)) == set(rows_of(tc, tz))),
        "You asked whether each row is there, and not how often. A row that was written twice over another one passes such "
        "a test. What does a set forget?",
        "Rows: each row of the twin as often as in the twin.",
        also=(
            asked(rows=lambda c, z, tc, tz: set(rows_of(c, z)) <= set(rows_of(tc, tz))),
            asked(rows=lambda c, z, tc, tz: set(rows_of(c, z)) >= set(rows_of(tc, tz))),
        ),
    ),
    Mistake(
        "each column sorted by itself",
        asked(rows=columnwise(0)),
        "`sort` along an axis of a matrix orders every column, or every row, by itself, and tears apart what stood "
        "together. Two matrices can agree afterwards that have no row in common. What has to stay whole when rows are put "
        "in order?",
        "Rows are compared whole.",
        also=(
            asked(rows=columnwise_with_zeros),
            asked(rows=columnwise(1)),
            asked(rows=lambda c, z, tc, tz: columnwise(1)(c, z, tc, tz) and same(z, tz)),
            asked(rows=lambda c, z, tc, tz: same(c.float().sum(1).sort().values, tc.float().sum(1).sort().values)),
        ),
    ),
    Mistake(
        "the questions in another order",
        asked(order="rzpn"),
        "Rows that did not move are also rows in some order, so whoever asks that first never hears of anything else. "
        "Which of the five answers is the special case of which?",
        "The narrow question first: nothing, then zero points, nibbles, rows.",
        also=(
            asked(order="pnrz"),
            asked(order="nrzp"),
            asked(order="nrz"),
            asked(order="rzpn", rows=lambda c, z, tc, tz: counted(c, c[:, :0], tc, tc[:, :0])),
            asked(order="rnzp"),
        ),
    ),
    Mistake(
        "nearly the same taken for the same",
        asked(equal=nearly),
        "A single code that is off passed your test. Most codes agree after many accidents, and a mend that does not lead "
        "back to every code is a wrong mend. How many of the codes have to be the twin's?",
        "All codes, or it is another accident.",
        also=(
            asked(equal=lambda a, b: nearly(a, b) or (a == b).float().mean().item() > 0.8),
            asked(equal=nearly, same_zeros=nearly),
            asked(equal=nearly, swapped=same),
            asked(equal=lambda a, b: (a == b).float().mean().item() > 0.5, swapped=same),
            asked(equal=lambda a, b: bool((a == b).any()), swapped=same),
            asked(equal=lambda a, b: bool((a == b).any())),
            asked(equal=lambda a, b: (a == b).float().mean().item() > 0.5),
        ),
    ),
)
