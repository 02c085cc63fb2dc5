"""Sixteen weights at a time: packed codes → values, in vectors (gemm.vectors). Every product is rounded by itself.

SIXTEEN (16 int32: codes)      VALUES (16 fp32)
"""

from llvmlite import ir
from numba.core import types

from qcourse.gemm.vectors import INT, Vector, operation

SIXTEEN, VALUES = Vector("sixteen", INT(32), 16), Vector("values", ir.FloatType(), 16)
number = types.intp


def many(width: int, values) -> ir.Constant:
    """A vector of integers."""
    return ir.Constant(ir.VectorType(INT(width), len(values)), list(values))


def everywhere(b, n, vector: Vector = SIXTEEN):
    """One number in all lanes; an integer is cut to the lanes' width."""
    return b.splat(n if vector is VALUES else b.llvm.trunc(n, vector.llvm.element), vector)


@operation(lambda array, row, column, shift, mask: (SIXTEEN, (array, number, number, number, number)))
def plane(b, result, args, array, row, column, shift, mask):
    """(byte >> shift) & mask of the sixteen bytes from array[row, column] on."""
    v = b.llvm.load(b.place(args[0], array, row, column, ir.VectorType(INT(8), 16)), align=1)
    v = b.llvm.lshr(b.llvm.zext(v, SIXTEEN.llvm), everywhere(b, shift))
    return b.llvm.and_(v, everywhere(b, mask))


@operation(lambda array, row, column, bits, swap: (SIXTEEN, (array, number, number, bits, swap)))
def dense(b, result, args, array, row, column, _, __):
    """Sixteen codes of `bits` bits, one behind the other in 2·bits bytes from array[row, column] on; swap: of the two in
    a byte, the one in the high bits is first.

    Each lane takes the one or two bytes that its code lies in, and shifts."""
    B, swap = args[3].literal_value, args[4].literal_value
    v = b.llvm.load(b.place(args[0], array, row, column, ir.VectorType(INT(8), 2 * B)), align=1)
    if B == 8:
        return b.llvm.zext(v, SIXTEEN.llvm)
    first = [i * B // 8 for i in range(16)]
    pairs = [n for i in first for n in (i, min(i + 1, 2 * B - 1))]
    wide = b.llvm.bitcast(b.llvm.shuffle_vector(v, v, many(32, pairs)), ir.VectorType(INT(16), 16))
    shifts = [i * B % 8 ^ (4 if swap else 0) for i in range(16)]
    return b.llvm.zext(b.llvm.and_(b.llvm.lshr(wide, many(16, shifts)), many(16, [(1 << B) - 1] * 16)), SIXTEEN.llvm)


@operation(lambda low, high, at: (SIXTEEN, (SIXTEEN, SIXTEEN, number)))
def joined(b, result, args, low, high, at):
    """low | high << at."""
    return b.llvm.or_(low, b.llvm.shl(high, everywhere(b, at)))


@operation(lambda codes, flip, offset: (VALUES, (SIXTEEN, number, number)))
def steps(b, result, args, codes, flip, offset):
    """(code ^ flip) - offset, in fp32. int8: both 128."""
    flipped = b.llvm.xor(codes, everywhere(b, flip))
    return b.llvm.sitofp(b.llvm.sub(flipped, everywhere(b, offset)), VALUES.llvm)


@operation(lambda codes, table, count: (VALUES, (SIXTEEN, table, count)))
def looked_up(b, result, args, codes, table, _):
    """table[0, code], of `count` values: 16 lie in a register, more in memory."""
    count, zero, found = args[2].literal_value, INT(64)(0), ir.Constant(VALUES.llvm, ir.Undefined)
    if count <= 16:
        few = ir.VectorType(ir.FloatType(), 16)
        all_of_it = b.llvm.load(b.place(args[1], table, zero, zero, few), align=4)
    else:
        first = b.place(args[1], table, zero, zero, ir.FloatType())
    for lane in range(16):
        i = b.llvm.extract_element(codes, INT(32)(lane))
        if count <= 16:
            v = b.llvm.extract_element(all_of_it, i)
        else:
            v = b.llvm.load(b.llvm.gep(first, [b.llvm.zext(i, INT(64))]))
        found = b.llvm.insert_element(found, v, INT(32)(lane))
    return found


@operation(lambda v, s: (VALUES, (VALUES, types.float32)))
def scaled(b, result, args, v, s):
    """v · s."""
    return b.llvm.fmul(v, everywhere(b, s, VALUES))


@operation(lambda v, z: (VALUES, (VALUES, types.float32)))
def lowered(b, result, args, v, z):
    """v - z."""
    return b.llvm.fsub(v, everywhere(b, z, VALUES))


@operation(lambda array, row, column, v, limit: (types.void, (array, number, number, VALUES, types.float32)))
def store_within(b, result, args, array, row, column, v, limit):
    """v, at most ±limit (NaN stays), to array[row, column] and on."""
    top = everywhere(b, limit, VALUES)
    low = b.llvm.fsub(VALUES.of(-0.0), top)
    v = b.llvm.select(b.llvm.fcmp_ordered(">", v, top), top, v)
    v = b.llvm.select(b.llvm.fcmp_ordered("<", v, low), low, v)
    b.llvm.store(v, b.place(args[0], array, row, column, VALUES.llvm), align=4)
