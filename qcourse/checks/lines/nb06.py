"""Notebook 06's lines: an output error, its repair, the factor, the order, and what is left."""

from qcourse.checks.line import Line

LINES = {
    "06.a": Line("lost", "(e @ H * e).sum(1)", {
        "e.square().sum(1)": "that is the error of the weights; H says how it reaches the output",
        "e @ H * e": "right products, still one for each column: add them up",
        "(e @ H).square().sum(1)": "H is in it twice: e H e, not (e H) squared",
        "(e * H.diagonal() * e).sum(1)": "the diagonal alone: errors of two columns can add up or cancel",
    }),
    "06.b": Line("e", "(w[j] - w_hat) / H_inv[j, j]", {
        "w[j] - w_hat": "the error itself; divided by [H⁻¹]_jj it can be multiplied with the row of H⁻¹",
        "(w_hat - w[j]) / H_inv[j, j]": "the other sign: the others would double the error",
        "(w[j] - w_hat) * H_inv[j, j]": "divide: at k = j the repair must be the error itself",
        "(w[j] - w_hat) / H[j, j]": "H, not its inverse: that forgets that the others move, too",
    }),
    "06.c": Line("rest", "w[j + 1 :] - e * H_inv[j, j + 1 :]", {
        "w[j + 1 :] + e * H_inv[j, j + 1 :]": "the other sign: the others would double the error",
        "w[j + 1 :] - e * H[j, j + 1 :]": "H, not its inverse",
        "w[j + 1 :] - (w[j] - w_hat) * H_inv[j, j + 1 :]": "the error is not yet divided by [H⁻¹]_jj: that is `e`",
        "-e * H_inv[j, j + 1 :]": "that is how far they move; where they were is missing",
    }),
    "06.d": Line("pairs", "H / torch.outer(size, size)", {
        "H / size": "only one of the two channels: the diagonal has to be 1",
        "H / H.max()": "the loudest channel alone has its 1 there: each pair has its own units",
        "H / torch.outer(H.diagonal(), H.diagonal())": "the diagonal holds squares; `size` is their root",
    }),
    "06.e": Line("stays", "1 / (D.diagonal() * D_inv.diagonal())", {
        "1 - 1 / (D.diagonal() * D_inv.diagonal())": "that is what the others take over",
        "D.diagonal() * D_inv.diagonal()": "upside down: that many times less is left",
        "D_inv.diagonal()": "in units of its own: [H⁻¹]_jj is 1 over what stays; compare with H_jj, what is there at first",
    }),
    "06.f": Line("enough", "few.hessian + 0.01 * mean * torch.eye(256)", {
        "few.hessian + 0.01 * mean": "that is added to *every* number of H, also to those beside the diagonal",
        "few.hessian + 0.01 * torch.eye(256)": "a hundredth of what? H grows with the text: of its mean diagonal",
        "few.hessian * 1.01": "a singular matrix stays singular, whatever it is multiplied with",
        "few.hessian + mean * torch.eye(256)": "all of the mean: that is a hundred times as much",
    }),
    "06.g": Line("row", "inverse[0] / inverse[0, 0].sqrt()", {
        "inverse[0]": "the row itself; U has it over the root of its first number",
        "inverse[0] / inverse[0, 0]": "over the *root*: so that UᵀU has the diagonal once",
        "inverse[0] * inverse[0, 0].sqrt()": "divided by the root",
        "inverse[:, 0].flip(0) / inverse[0, 0].sqrt()": "the row runs from the diagonal on",
    }),
    "06.h": Line("eager", "sum(2 * 4 * N * (K - 1 - j) for j in range(K))", {
        "sum(4 * N * (K - 1 - j) for j in range(K))": "each number is read *and* written",
        "2 * 4 * N * K * K": "there are fewer and fewer columns behind: half of that",
        "sum(2 * N * (K - 1 - j) for j in range(K))": "numbers; fp32 has four bytes for each",
    }),
    "06.i": Line("share", "lost(q, unseen.hessian) / lost(rtn, unseen.hessian)", {
        "lost(q, seen.hessian) / lost(rtn, seen.hessian)": "on the text that it was calibrated on: unseen text is asked for",
        "lost(rtn, unseen.hessian) / lost(q, unseen.hessian)": "the other way round",
        "lost(q, unseen.hessian)": "as a share of round-to-nearest's",
        "lost(q, unseen.hessian) / lost(rtn, seen.hessian)": "both on the same text: two texts have two sums",
    }),
    "06.j": Line("turn", "seen.mean_square.argsort(descending=True)", {
        "seen.mean_square.argsort()": "the quietest first; the loudest should be rounded while many are left",
        "seen.mean_square.sort(descending=True).values": "the loudnesses themselves; which *channel* comes first?",
        "seen.mean_square.argsort(descending=True).argsort()": "the place of each channel in the order: its inverse",
    }),
    "06.k": Line("g_idx", "turn.argsort() // 64", {
        "turn // 64": "the groups of neighbours, in the order of work; asked for is each channel's *place* in `turn`",
        "torch.arange(256) // 64": "those are groups that lie side by side",
        "turn.argsort() % 64": "that is the place inside its group",
        "turn.argsort()": "that is its place in the order; 64 places make a group",
    }),
    "06.l": Line("remains", "added['GPTQ'].mean / added['nearest'].mean", {
        "1 - added['GPTQ'].mean / added['nearest'].mean": "that is what it wins back",
        "added['nearest'].mean / added['GPTQ'].mean": "the other way round",
        "scores['GPTQ'].bits_per_byte / scores['nearest'].bits_per_byte": "that is bits/byte in all, most of them "
        "bf16's own",
    }),
    "06.m": Line("z", "paired_difference(scores['GPTQ'], scores['GPTQ, deaf']).z", {
        "paired_difference(scores['GPTQ, deaf'], scores['GPTQ']).z": "the other way round: how much worse is the deaf one?",
        "(added['GPTQ, deaf'].mean - added['GPTQ'].mean) / added['GPTQ'].stderr": "that is GPTQ's distance from bf16 and "
        "*its* standard error; the two were measured on the same windows: pair *them*",
        "added['GPTQ, deaf'].z - added['GPTQ'].z": "two z's have no difference that means anything: pair the scores",
    }),
    "06.n": Line("inherited", "((x - x_hat) @ W_last.T).square().sum()", {
        "((x - x_hat) @ W_hat.T).square().sum()": "with Ŵ the two parts do not add up: (x − x̂) meets W here",
        "(x @ (W_last - W_hat).T).square().sum()": "that is the error of its own weights",
        "(x - x_hat).square().sum()": "that is at the input; it still goes through W",
        "((x - x_hat) @ W_last.T).sum()": "squares: without them the errors cancel",
    }),
    "06.o": Line("changed", "(with_hindsight['NVFP4A16'].codes != plain['NVFP4A16'].codes).float().mean()", {
        "(with_hindsight['NVFP4A16'].codes == plain['NVFP4A16'].codes).float().mean()": "that is the share that stayed",
        "(with_hindsight['NF4'].codes != plain['NF4'].codes).float().mean()": "that is NF4",
        "(with_hindsight['NVFP4A16'].codes != plain['NVFP4A16'].codes).sum()": "that is their number; a share is asked for",
    }),
    "06.p": Line("kept", "cost['W3A16_ASYM_G64+gptq'] / cost['W3A16_ASYM_G64']", {
        "1 - cost['W3A16_ASYM_G64+gptq'] / cost['W3A16_ASYM_G64']": "that is what it wins back",
        "cost['W3A16_ASYM_G64+gptq']": "that is in bits/byte; as a share of nearest's",
        "cost['W4A16_ASYM_G64+gptq'] / cost['W4A16_ASYM_G64']": "that is 4 bits",
    }),
}  # fmt: skip
