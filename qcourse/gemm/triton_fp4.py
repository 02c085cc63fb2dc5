"""FP4 on the GPU: what NVFP4A16 and MXFP4A16 change in the kernel of triton_weight_only. A nibble, a byte of scale.

    y[m, n] = t · Σ_g s[n, g] · Σ_{k in g} x[m, k] · q[n, k]        t: NVFP4's number of the whole tensor, else 1

Every float is sign, exponent, mantissa in this order, so a small one *is* a large one whose lower bits are missing: move
its bits to where the large one keeps them, and only the bias of the exponent is wrong, by a factor that is a power of two.

    code   E2M1   s ee m         → bf16   s 000000ee m000000           · 2^(127 - 1)
                                 → fp16   s 000ee m000000000           · 2^(15 - 1)
    scale  E4M3   s eeee mmm     → bf16   s 0000eeee mmm0000           · 2^(127 - 7)     NVFP4: 16 weights, then t
                                 → fp16   s 0eeee mmm0000000           · 2^(15 - 7)
    scale  E8M0   eeeeeeee       → bf16   0 eeeeeeee 0000000           · 1               MXFP4: 32 weights
                                 → fp32, where x is fp16, which has not so many exponents

Subnormals come out right by themselves: 0.5 is a subnormal before the multiplication (so nothing here may flush them to
zero) and a normal number after it. No table, no branch, and no E4M3 instruction, which Ampere has not.

**Nothing is rounded.** E2M1 · E4M3 has 6 significant bits and lies between 2^-10 and 2688, E2M1 · 2^e has 2: such a weight
is exact in bf16 and fp16 (MXFP4 in fp16: for scales from 2^-23 to 2^13). t multiplies the fp32 sum, once an output.

Sources: OCP MX v1.0; the multiplication by 2^126 in bf16 is also vLLM's Marlin (dequant.h). Speed: not measured yet.
"""

import triton.language as tl

from qcourse.gemm.triton_launch import jit


@jit
def widened(bits, low: tl.constexpr, E: tl.constexpr, M: tl.constexpr, TO: tl.constexpr):
    """The float s.E.M that begins at bit `low` of 8 or 16 bits, as the float TO: exact. Sign and magnitude move apart."""
    top: tl.constexpr = TO.primitive_bitwidth - 1
    wide = bits.to(tl.int32 if top == 31 else tl.int16)
    magnitude = ((wide >> low) & ((1 << (E + M)) - 1)) << (TO.fp_mantissa_width - M)
    sign = (wide << (top - E - M - low)) & (-1 << top)
    return (magnitude | sign).to(TO, bitcast=True) * (2.0 ** (TO.exponent_bias - (1 << (E - 1)) + 1))


@jit
def unpack_e2m1(units, j: tl.constexpr, zero, DTYPE: tl.constexpr, COMPUTE: tl.constexpr):
    """Nibble j of int16 units as a float; `zero` is for formats that have one."""
    return widened(units, 4 * j, 2, 1, COMPUTE)


@jit
def from_e4m3(codes, COMPUTE: tl.constexpr):
    """E4M3 bit patterns (uint8) → their values; S.1111.111 is NaN."""
    return tl.where((codes & 0x7F) == 0x7F, float("nan"), widened(codes, 0, 4, 3, COMPUTE))


@jit
def from_e8m0(codes, COMPUTE: tl.constexpr):
    """Biased exponents (uint8) → 2^(code - 127): the code becomes the exponent, in fp32 where fp16's is too short for it.

    Two codes need a bit of the mantissa besides, and the same one: 2^-127 is a subnormal (0), NaN an infinity with a
    mantissa (255).
    """
    TO: tl.constexpr = tl.float32 if COMPUTE.exponent_bias == 15 else COMPUTE
    m: tl.constexpr = TO.fp_mantissa_width
    wide = codes.to(tl.int32 if TO.primitive_bitwidth == 32 else tl.int16)
    return ((wide << m) | (((wide == 0) | (wide == 255)).to(wide.dtype) << (m - 1))).to(TO, bitcast=True)


@jit
def from_float(scales, COMPUTE: tl.constexpr):
    """Scales that are stored as floats (bf16, fp16, fp32), and zero points that are stored as codes → fp32."""
    return scales.to(tl.float32)
