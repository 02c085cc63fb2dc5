"""The known mistakes of 13.5: one of the three questions asked in another way."""

import torch

from qcourse.checks.lab13.protocol_variants import (
    audited,
    counting,
    flat,
    in_front,
    mean,
    next_ids,
    pairs,
    scaled,
    seen,
)
from qcourse.checks.task import Mistake

MISTAKES = (
    Mistake(
        "markers counted anywhere",
        counting(lambda inputs, bos: int((inputs[0] == bos).sum()))[0],
        "You counted the marker wherever it stands. In this vocabulary it also ends a document, so a text may hold it in "
        "its middle, and rightly. At which id does the counting have to stop?",
        "Markers in front: those before the first other id.",
        also=(
            *counting(lambda inputs, bos: int((inputs[0] == bos).sum()))[1:],
            *counting(lambda inputs, bos: int((inputs == bos).sum())),
            *counting(lambda inputs, bos: int((inputs == bos).sum(1).max())),
            *counting(lambda inputs, bos: int((inputs == bos).sum(1).min())),
            *counting(lambda inputs, bos: float((inputs == bos).sum(1).double().mean())),
            *counting(lambda inputs, bos: int((inputs == bos).sum() / len(inputs))),
        ),
    ),
    Mistake(
        "one marker at most",
        counting(lambda inputs, bos: int(inputs[0, 0] == bos))[0],
        "You asked whether a marker is there, or took it for granted. A tokenizer puts one in front, a template another, "
        "and a model that never saw two in training is scored on the second. How many are there before the text begins?",
        "Markers in front: a number, 0, 1, 2 …",
        also=(
            *counting(lambda inputs, bos: int(inputs[0, 0] == bos))[1:],
            *counting(lambda inputs, bos: 1),
            *counting(lambda inputs, bos: min(2, in_front(inputs, bos))),
            *counting(lambda inputs, bos: int((inputs[:, 0] == bos).sum())),
        ),
    ),
    Mistake(
        "targets compared in the same column",
        audited(follows=lambda i, t: mean(t == i)),
        "You compared each target with the id at its own place. That is the question of a meter without the shift, and to "
        "predict what one has just read is easy. Where in the inputs does the id stand that column j has to predict?",
        "Targets: column j is asked for the input of column j + 1.",
        also=(
            audited(follows=lambda i, t: mean(t[:, :-1] == i[:, :-1])),
            audited(follows=lambda i, t: mean(t[:, 1:] == i[:, 1:])),
        ),
    ),
    Mistake(
        "shifted the wrong way",
        audited(follows=lambda i, t: mean(t[:, 1:] == i[:, :-1])),
        "You compared targets with inputs of another column, and not the one behind. Write down the first three inputs and "
        "targets of a right meter: which two numbers have to be equal?",
        "Targets: column j is asked for the input of column j + 1.",
        also=(
            audited(follows=lambda i, t: mean(t == i.roll(1, 1))),
            audited(follows=lambda i, t: mean(t[:, :-2] == i[:, 2:])),
        ),
    ),
    Mistake(
        "the last column counted",
        audited(follows=lambda i, t: float((t[:, :-1] == i[:, 1:]).sum()) / t.numel()),
        "The last target of a window has no input behind it to be compared with. You counted it as wrong or as right, or "
        "met it with the next window's marker, so even a right meter would not get 100 %, and a wrong one may get too much. "
        "How many comparisons are there in a window of m?",
        "m − 1 comparisons in a window of m columns.",
        also=(
            audited(follows=flat),
            audited(follows=lambda i, t: mean(t == i.roll(-1, 1))),
            audited(follows=lambda i, t: mean(t.flatten() == i.flatten().roll(-1))),
            audited(follows=lambda i, t: float((t[:, :-1] == i[:, 1:]).sum() + len(t)) / t.numel()),
        ),
    ),
    Mistake(
        "all or nothing",
        audited(follows=lambda i, t: float(torch.equal(t[:, :-1], i[:, 1:]))),
        "You answer yes or no, 1 or 0, where a share is asked: of targets, or of windows. A meter can be right in most "
        "windows, and the rest still moves its number. Of how many comparisons do you take the mean?",
        "A share counts: right ones over all.",
        also=(
            audited(follows=lambda i, t: mean((t[:, :-1] == i[:, 1:]).all(1))),
            audited(share=lambda t, r: float(pairs(t, r).any())),
            audited(follows=lambda i, t: mean(t[0, :-1] == i[0, 1:])),
            audited(
                follows=lambda i, t: float(torch.equal(t[:, :-1], i[:, 1:])), share=lambda t, r: float(pairs(t, r).any())
            ),
        ),
    ),
    Mistake(
        "windows compared by a part of them",
        audited(share=lambda t, r: seen(t[:, :1], r[:, :1])),
        "Windows that begin with the same id, or share ids at some places, were taken for the same. Many texts begin alike: "
        "an article, a licence, a `def`. How much of a window has to agree until it is this window?",
        "A window was read if all its ids, in their order, are one of calibration's windows.",
        also=(
            audited(share=lambda t, r: seen(t[:, :2], r[:, :2])),
            audited(share=lambda t, r: seen(t[:, :-1], r[:, :-1])),
            audited(share=lambda t, r: mean(torch.isin(t, r))),
            audited(share=lambda t, r: mean(torch.isin(t, r).all(1))),
            audited(share=lambda t, r: seen(t.sort(1).values, r.sort(1).values)),
            audited(share=lambda t, r: mean((t[:, None] == r[None]).any(2).any(1))),
            audited(share=lambda t, r: mean((t[:, None] == r[None]).any(1))),
            audited(share=lambda t, r: mean((t[:, None] == r[None]).any(1).all(1))),
        ),
    ),
    Mistake(
        "the text looked for in another place",
        audited(texts=lambda i, t, r: i[:, : r.shape[1]]),
        "The windows of calibration hold text and no marker. You looked for them from the first column on, or behind one "
        "marker where there are two, or none, or in the targets. Which of the three numbers of this audit says where the "
        "text begins?",
        "The text of a window begins behind its markers.",
        also=(
            audited(texts=lambda i, t, r: i[:, 1 : 1 + r.shape[1]]),
            audited(texts=lambda i, t, r: t[:, : r.shape[1]]),
            audited(texts=lambda i, t, r: i),
            audited(texts=lambda i, t, r: t),
            audited(texts=lambda i, t, r: i[:, -r.shape[1] :]),
        ),
    ),
    Mistake(
        "of calibration's windows",
        audited(share=lambda t, r: mean(pairs(t, r).any(0))),
        "You answered how much of calibration's text is scored. What is doubtful is the score, so the question is the other "
        "one: of the windows that are scored, how many has calibration read? By which number do you divide?",
        "A share of the scored windows: divided by n.",
        also=(
            audited(share=lambda t, r: float(pairs(t, r).any(1).sum()) / len(r)),
            audited(share=lambda t, r: mean(pairs(t, r))),
        ),
    ),
    Mistake(
        "a window counted twice, or twice as one",
        audited(share=lambda t, r: float(pairs(t, r).sum()) / len(t)),
        "Calibration may read one window twice, and a text may be scored twice. You counted pairs, or took the windows as a "
        "set, so that twice became once. About each scored window there is one question; which?",
        "For each of the n scored windows: read, or not.",
        also=(
            audited(share=lambda t, r: len({*map(tuple, t.tolist())} & {*map(tuple, r.tolist())}) / len(t)),
            audited(
                share=lambda t, r: (
                    len({*map(tuple, t.tolist())} & {*map(tuple, r.tolist())}) / len({*map(tuple, t.tolist())})
                )
            ),
        ),
    ),
    Mistake(
        "numbers or percent instead of shares",
        scaled(100.0),
        "Your shares are larger than 1: they are percent, or numbers of targets and windows. What is compared with other "
        "texts has to be free of their size. Which two numbers make a share?",
        "A share lies between 0 and 1.",
        also=(
            audited(share=lambda t, r: 100 * seen(t, r)),
            audited(follows=lambda i, t: 100 * next_ids(i, t)),
            audited(share=lambda t, r: float(pairs(t, r).any(1).sum())),
            audited(follows=lambda i, t: float((t[:, :-1] == i[:, 1:]).sum())),
            audited(
                follows=lambda i, t: float((t[:, :-1] == i[:, 1:]).sum()),
                share=lambda t, r: float(pairs(t, r).any(1).sum()),
            ),
        ),
    ),
    Mistake(
        "the complement",
        audited(follows=lambda i, t: 1 - next_ids(i, t)),
        "You give the share of what is wrong where what is right is asked, or the windows that calibration has *not* read. "
        "What is 1 for a right meter, and what is 0?",
        "A right meter: one marker, 1.0 of the targets, 0.0 of the windows.",
        also=(
            audited(share=lambda t, r: 1 - seen(t, r)),
            audited(follows=lambda i, t: 1 - next_ids(i, t), share=lambda t, r: 1 - seen(t, r)),
        ),
    ),
)
