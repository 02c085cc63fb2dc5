"""Second floor: one paper a file. Quantizers turn (W, args) into codes; transforms make W easier to quantize first."""
