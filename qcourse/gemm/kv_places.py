"""Where the loop of a quantized cache's decode step (gemm.kv_loops) finds things: `a` holds addresses and numbers.

    0, 1   where threads agree (gemm.threads)
    2 …    the step: Q K V COS SIN Y, then numbers
    KEYS, VALUES …   the two sides of a layer: what they are at KEYS + CODES, VALUES + CODES and so on

A row is one sequence's kv head; EACH query heads share it. Tokens are counted after the sinks where they are codes.
"""

Q, K, V, COS, SIN, Y = range(2, 8)  # addresses: (rows · EACH, DIM), (rows, DIM) twice, (DIM) twice, as Q
EACH, DIM, PAST, ROTATE, SINK, HALF, ROWS = range(8, 15)  # PAST: the new position. HALF: q, k, v are bf16, else fp32
PARTIAL, COUNTERS, TROUBLE = range(15, 18)  # addresses: what pieces leave behind, a counter a row, 1 where nothing was done
PIECES, SPLIT, UNIT = range(18, 21)  # a row is cut into so many pieces: its first SPLIT codes, in units of UNIT
KEYS, VALUES, END_OF_A = 24, 48, 72

CODES, SCALE, ZERO, NEAR, STATIC, CLAMPED = range(6)  # addresses in one layer; 0 where there is none
KIND, GROUPS, TOKENS, RING = range(6, 10)  # KIND: below. GROUPS of a token's channels, TOKENS of a group by channel (else 1)
DONE, END = range(10, 12)  # tokens that are codes before and after the step
BLOCKS, OFFSET, LOW, HIGH, LIMIT, PLACES = range(12, 18)  # blocks and NEAR places a row; LIMIT: twice the grid's limit

BYTE, NIBBLE, CRUMB, E4M3, E5M2 = range(5)  # integers of 8, 4 and 2 bits, and floats
EXTRA = 32  # numbers that a head's partial result has behind its DIM sums: its largest score, its sum of weights
