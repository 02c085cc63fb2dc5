"""What attention over packed codes adds to the vectors of gemm.lanes: bytes and bf16 widened, sums that may be reordered.

Everything here says for itself how exact it is, so a task made with `jit.exact` may use it: products and sums are fused
where the processor can, the rest is as in gemm.lanes. Import it only where numba is installed.
"""

import platform

from llvmlite import ir
from numba.core import types

from qcourse.gemm.lanes import COUNT, FLOAT, REALS, TRUTHS, WHOLES, pointer, splat
from qcourse.gemm.vectors import FAST, HAS, INT, operation

SMALL, HALVES = ir.VectorType(INT(8), COUNT), ir.VectorType(INT(16), COUNT)
BY_HAND = platform.machine() in ("x86_64", "AMD64") and "f16c" not in HAS  # a processor that cannot widen fp16 itself


@operation(lambda address: (WHOLES, (types.int64,)))
def bytes_at(b, result, args, address):
    """The 16 bytes at an address, as integers from 0."""
    return b.llvm.zext(b.llvm.load(pointer(b, address, SMALL), align=1), WHOLES.llvm)


@operation(lambda address, mantissa: (REALS, (types.int64, mantissa)))
def floats_at(b, result, args, address, _):
    """16 floats of 8 bits: E4M3 (mantissa = 3) or E5M2 (2), by way of fp16, whose upper half E5M2 is; never NaN."""
    codes, constant = b.llvm.load(pointer(b, address, SMALL), align=1), lambda n: ir.Constant(HALVES, [n] * COUNT)
    if args[1].literal_value == 2:
        half = b.llvm.shl(b.llvm.zext(codes, HALVES), constant(8))
    else:  # sign to bit 15, the rest to bits 13 … 7, and bit 14 is 0
        half = b.llvm.and_(b.llvm.shl(b.llvm.sext(codes, HALVES), constant(7)), constant(0xBFFF))
    if BY_HAND:
        wide = b.widened(half, fp16=True)
    else:
        wide = b.llvm.fpext(b.llvm.bitcast(half, ir.VectorType(ir.HalfType(), COUNT)), REALS.llvm)
    return wide if args[1].literal_value == 2 else b.llvm.fmul(wide, REALS.of(256.0))


@operation(lambda address: (REALS, (types.int64,)))
def bf16s_at(b, result, args, address):
    """The 16 bf16 numbers at an address."""
    return b.widened(b.llvm.load(pointer(b, address, HALVES), align=2), fp16=False)


@operation(lambda address, v: (types.void, (types.int64, v)))
def put_reals(b, result, args, address, v):
    """Write 16 numbers, fp32."""
    b.llvm.store(v, pointer(b, address, REALS.llvm), align=4)


@operation(lambda address, v: (types.void, (types.int64, REALS)))
def put_bf16s(b, result, args, address, v):
    """Write 16 numbers as bf16, rounded to nearest even."""
    bits = b.llvm.bitcast(v, WHOLES.llvm)
    odd = b.llvm.and_(b.llvm.lshr(bits, WHOLES.of(16)), WHOLES.of(1))
    bits = b.llvm.lshr(b.llvm.add(bits, b.llvm.add(odd, WHOLES.of(0x7FFF))), WHOLES.of(16))
    b.llvm.store(b.llvm.trunc(bits, HALVES), pointer(b, address, HALVES), align=2)


@operation(lambda sums, number, v: (REALS, (REALS, types.float32, REALS)))
def add_times(b, result, args, sums, number, v):
    """sums + number · v, fused where there is an instruction for it."""
    return b.llvm.fadd(sums, b.llvm.fmul(splat(b.llvm, number, REALS.llvm), v, flags=FAST), flags=FAST)


@operation(lambda sums, u, v: (REALS, (REALS, REALS, REALS)))
def add_product(b, result, args, sums, u, v):
    """sums + u · v, lane by lane."""
    return b.llvm.fadd(sums, b.llvm.fmul(u, v, flags=FAST), flags=FAST)


@operation(lambda v: (types.float32, (REALS,)))
def total_of(b, result, args, v):
    """The sum over the lanes."""
    return b.call(f"llvm.vector.reduce.fadd.v{COUNT}f32", FLOAT, FLOAT(0.0), v, fastmath=FAST)


@operation(lambda v: (types.float32, (REALS,)))
def most_of(b, result, args, v):
    """The largest of the 16."""
    return b.call(f"llvm.vector.reduce.fmax.v{COUNT}f32", FLOAT, v)


@operation(lambda v: (types.float32, (REALS,)))
def least_of(b, result, args, v):
    """The smallest of the 16."""
    return b.call(f"llvm.vector.reduce.fmin.v{COUNT}f32", FLOAT, v)


@operation(lambda truth: (types.int64, (TRUTHS,)))
def how_many(b, result, args, truth):
    """In how many lanes it is true."""
    return b.llvm.zext(b.call(f"llvm.ctpop.i{COUNT}", INT(COUNT), b.llvm.bitcast(truth, INT(COUNT))), INT(64))


@operation(lambda like: (WHOLES, (WHOLES,)))
def counted(b, result, args, _):
    """0, 1, … 15."""
    return ir.Constant(WHOLES.llvm, list(range(COUNT)))


@operation(lambda address, number: (types.int64, (types.int64, types.int64)))
def add_at(b, result, args, address, number):
    """Add to the integer at an address, one thread at a time: what it was before."""
    return b.llvm.atomic_rmw("add", pointer(b, address, INT(64)), number, "seq_cst")
