"""Notebook 12's lines: on which side a rotation goes, what passes a round, and what a code stands for."""

from qcourse.checks.line import Line

LINES = {
    "12.a": Line("s", "(pair @ Q).abs().max() / 7", {
        "pair.abs().max() / 7": "that is the step without turning; what is rounded is pair @ Q",
        "(pair @ Q).abs().amax(0) / 7": "one step for each channel; here one for all, as along a token's channels",
        "(pair @ Q).abs().max() / 15": "15 is the number of codes; 7 steps lie on each side of zero",
        "(pair @ Q).abs().max() / 7.5": "that is the full range −8 … 7; here codes end at ±7",
    }),
    "12.b": Line("twice", "torch.cat((torch.cat((H, H), 1), torch.cat((H, -H), 1)))", {
        "torch.cat((torch.cat((H, H), 1), torch.cat((H, H), 1)))": "each row would come twice: that is no rotation; the "
        "last block is −H",
        "torch.cat((torch.cat((H, H), 1), torch.cat((-H, H), 1)))": "a rotation too, but not the usual one: the minus "
        "belongs to the block at the lower right",
        "torch.cat((H, H), 1)": "that is the upper half; below it H beside −H",
        "torch.cat((torch.cat((H, H), 1), torch.cat((H, -H), 1))) / 2": "right up to the factor: here entries are still ±1",
    }),
    "12.c": Line("reads", "W @ R", {
        "W @ R.T": "that undoes the opposite turn: (x R)(W Rᵀ)ᵀ = x R R Wᵀ",
        "R.T @ W": "rows are outputs: that turns what W writes; it *reads* x along its columns",
        "W": "then x R would be read as if it were x",
    }),
    "12.d": Line("writes", "R.T @ W_o", {
        "W_o @ R": "columns are inputs: that reads a turned z; what it *writes* are its rows",
        "R @ W_o": "turned the wrong way: z (R W_o)ᵀ = (z W_oᵀ) Rᵀ",
        "W_o": "then the stream gets what it always got, not turned",
    }),
    "12.e": Line("folded", "W * gain", {
        "W * gain.unsqueeze(1)": "that multiplies the rows, W's outputs; a gain belongs to an input channel, a column",
        "W / gain": "the gain multiplied the input; now W has to do it: multiply",
        "W": "then the gain is gone, and with it the function",
    }),
    "12.f": Line("once", "torch.stack((a + b, a - b), 1)", {
        "torch.stack((a - b, a + b), 1)": "sums first: the upper rows of H are (H H)",
        "torch.cat((a + b, a - b), 1)": "right numbers, in a row of 256; two halves are asked for, (tokens, 2, 128)",
        "torch.stack((a + b, b - a), 1)": "the minus belongs to the second half: H beside −H",
        "torch.stack((a + b, a - b), 0)": "the tokens come first: stack along axis 1",
    }),
    "12.g": Line("additions", "K * math.log2(K)", {
        "K * K": "that is the dense product; each round halves the problem, so there are log2(K) of them",
        "math.log2(K)": "that is the number of rounds; each of them makes K sums and differences",
        "K / 2 * math.log2(K)": "K/2 pairs, and each gives a sum *and* a difference",
        "2 * K": "that is two rounds; it takes log2(K) = 12",
    }),
    "12.h": Line("left", "added['W4A4+rotation+online'].mean / added['W4A4'].mean", {
        "1 - added['W4A4+rotation+online'].mean / added['W4A4'].mean": "that is the share that was won back",
        "added['W4A4'].mean / added['W4A4+rotation+online'].mean": "the other way round",
        "added['W4A4+rotation'].mean / added['W4A4'].mean": "that is with R1 and R2 alone; `online` adds R3 and R4",
        "added['W4A4+rotation+online'].mean": "that is in bits a byte; as a share of W4A4's",
    }),
    "12.i": Line("output_error", "(y @ (W_hat - W).T).norm() / (y @ W.T).norm()", {
        "(W_hat - W).norm() / W.norm()": "that is the error of W; of the *output* is asked: what y makes of it",
        "(y @ (W_hat - W).T).norm()": "absolute; relative to the output's own size",
        "(y @ (W_hat - W).T).norm() / y.norm()": "relative to the *output*, not to the input",
    }),
    "12.j": Line("slope", "slope_of(W + (fake - W).detach())", {
        "slope_of(fake)": "the true gradient: round has slope 0, so nothing would ever be learnt",
        "slope_of(W)": "the slope at W itself: the rounding plays no role, and is not trained for",
        "slope_of(W.detach() + (fake - W))": "the wrong part is detached: the gradient changes its sign",
    }),
    "12.k": Line("stepped", "latent - lr * slope", {
        "latent + lr * slope": "uphill: a slope points to where the loss grows",
        "latent.round() - lr * slope": "a step from the *rounded* weights: smaller than half a code, it is rounded away the "
        "next time, and nothing adds up",
        "latent - slope": "the learning rate is missing",
        "latent - lr * 2 * (latent - wanted) @ valley": "the slope at the latent weights: they are what is wanted already, "
        "their codes are not",
    }),
    "12.l": Line("kl", "(log_p.exp() * (log_p - log_q)).sum(-1).mean()", {
        "(log_q.exp() * (log_q - log_p)).sum(-1).mean()": "that is KL(student ‖ teacher): the teacher's probabilities weigh",
        "-(log_p.exp() * log_q).sum(-1).mean()": "cross entropy with the teacher: the same gradient, but never zero",
        "(log_p.exp() * (log_p - log_q)).mean()": "a mean over the vocabulary, too; sum over that one",
        "(log_p - log_q).sum(-1).mean()": "weighted by the teacher's probabilities: what it never says hardly counts",
    }, rtol=1e-3),
    "12.m": Line("won", "1 - mended.mean / rounded.mean", {
        "mended.mean / rounded.mean": "that is the share that is left",
        "rounded.mean - mended.mean": "in bits a byte; as a share of what rounding to nearest added",
        "1 - rounded.mean / mended.mean": "the other way round: relative to what rounding to nearest added",
    }),
    "12.n": Line("codes", "torch.cdist(fresh, book).argmin(1)", {
        "torch.cdist(fresh, book).argmin(0)": "for each entry the nearest pair; each *pair* wants its entry",
        "torch.cdist(fresh, book).argmax(1)": "that is the farthest",
        "torch.cdist(fresh, book).amin(1)": "that is how far it is; which entry it is, is what a file stores",
        "(fresh @ book.T).argmax(1)": "the largest product is not the least distance: long entries would always win",
    }),
    "12.o": Line("values", "book[codes]", {
        "codes": "those are places in the book; the values lie there",
        "book[codes, 0]": "the first weight of each pair alone",
        "fresh": "those are the weights before",
    }),
    "12.p": Line("kept", "costs['W8A8_STATIC+rotation+online'] / costs['W8A8_STATIC']", {
        "1 - costs['W8A8_STATIC+rotation+online'] / costs['W8A8_STATIC']": "that is what was won back",
        "costs['W8A8_STATIC'] / costs['W8A8_STATIC+rotation+online']": "the other way round",
        "costs['W8A8_STATIC+rotation'] / costs['W8A8_STATIC']": "that is with R1 and R2 alone",
        "costs['W8A8_STATIC+rotation+online']": "that is in bits a byte; as a share of W8A8_STATIC's",
    }),
}  # fmt: skip
