"""What `hint(task, 2)` and `hint(task, 3)` say: the idea, and one way to begin. The nudge (1) stands beside each task."""

HINTS = {
    "13.1": (
        "h = x. For each pair of weights: y_twin = h W_twinᵀ and y = h Wᵀ from the same h; the error is the norm of their "
        "difference over the norm of y_twin; then h = tanh(y_twin), and never the patient's y.",
        "h, errors = x, []",
    ),
    "13.2": (
        "moved = zeros − twin_zeros as int. Codes equal: all moved 0 is “nothing”, all 1 or all −1 “zero points”, else "
        "“another”. Codes equal to the twin's with columns exchanged in pairs, moved all 0: “nibbles”. Codes and zero "
        "points side by side, the rows sorted as lists, equal: “rows”.",
        "moved = zeros.int() - twin_zeros.int()",
    ),
    "13.3": (
        "0x0F0F0F0F keeps the lower half of each byte. Masked first, then shifted up by 4: half of the answer. Shifted down "
        "by 4 first, then masked: the other half, without the sign. `|` joins them.",
        "low = words & 0x0F0F0F0F",
    ),
    "13.4": (
        "Clamp the three at 1e-9 so that silent channels give 1. x = log(plain/twin), y = log(patient/twin); the slope of "
        "the line through 0 is x·y / x·x. Above 0.5: gain / s. Below −0.5: gain · s. Between: gain. All in float32.",
        "patient, twin, plain = (loud.clamp(min=1e-9) for loud in (patient, twin, plain))",
    ),
    "13.5": (
        "The first column of inputs[0] that is not bos is the number of markers. Targets without their last column against "
        "inputs without their first: the mean. inputs[:, markers : markers + T] against each row of read: all ids, any row, "
        "mean over n.",
        "markers = int((inputs[0] != bos).int().argmax())",
    ),
    "13.6": (
        "The tree's order: the meter (markers, targets, windows that calibration has read), the headers, errors by layer "
        "alone; then the codes of the layer that is ill, or the loudness if it is a norm. The case's row in CASES says what "
        "mends it; `spoil` writes the mended copy, and RIGHT reads it on other_text.",
        "p = patient(NUMBER)",
    ),
}
