"""What `hint(task, 2)` and `hint(task, 3)` say: the idea, and one way to begin. The nudge (1) stands beside each task."""

HINTS = {
    "11.1": (
        "Shift every word by 0, B, 2B … along a new axis and mask 2^B − 1. For qweight the new axis goes behind axis 0, "
        "(K·B/32, 32/B, N), and the first two are flattened; for qzeros it goes last, and the last two are. z is that + 1. "
        "Then rows k of codes meet rows g_idx[k] of z and scales; transpose at the end.",
        "shifts, mask = bits * torch.arange(32 // bits), 2**bits - 1",
    ),
    "11.2": (
        "Take each word apart (shift by 0, 4, …, 28; mask 15). If version 2 is wanted, no number may be 15; if version 1, "
        "none may be 0: ValueError. Then add 0x11111111 to the words, or subtract it: nothing is carried now.",
        "nibbles = qzeros[..., None] >> 4 * torch.arange(8) & 0xF",
    ),
    "11.3": (
        "blocks → (N, K/32, 20). Bytes 0 … 3 viewed as float16 are d and m. Of bytes 4 … 19 the low nibbles, then the high "
        "ones, are q (N, K/32, 32). w = d · q + m, d and m with an axis more, and the last two axes flattened.",
        "b = blocks.reshape(len(blocks), -1, 20)  # (N, K/32, 20)",
    ),
    "11.4": (
        "A helper for one tensor: unflatten axis 0 into (heads, 2, D/2) for halves → pairs, or (heads, D/2, 2) for the way "
        "back; exchange axes 1 and 2; flatten the first three. q with heads, k with kv_heads.",
        "def moved(t, heads):",
    ),
    "11.5": (
        "The example with three values replaced by arguments (num_bits, symmetric, group_size), strategy channel where "
        "group_size is None, and `ignore` as it came.",
        'weights = {"num_bits": num_bits, "type": "int", "symmetric": symmetric, "group_size": group_size}',
    ),
    "11.6": (
        "start = 8 + the first 8 bytes as a little-endian number. json.loads of data[8:start]. The entry, or ValueError. "
        "Refuse unless 0 ≤ begin, end ≤ len(data) − start, and end − begin = product of the shape · bytes of the dtype. "
        "Then torch.frombuffer of the piece (a bytearray of it), reshaped.",
        'start = 8 + int.from_bytes(data[:8], "little")',
    ),
}
