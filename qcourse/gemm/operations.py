"""What compiled loops do with vectors (gemm.vectors): one small operation each."""

from llvmlite import ir
from numba.core import cgutils, types

from qcourse.gemm.vectors import BYTES, CODES, FAST, FLOATS, HAS, INT, INTS, LANES, UNITS, VNNI, Room, operation


def vector_of(array: types.Array):
    """The vector that holds numbers of an array."""
    kind = array.dtype
    return CODES[kind.bitwidth] if kind.bitwidth < 32 else FLOATS if kind == types.float32 else INTS


@operation(lambda x, array, row, column: (CODES[x.dtype.bitwidth], (x, array, types.intp, types.intp)))
def load_as(b, result, args, x, array, row, column):
    """4·LANES bytes from array[row, column] on, as numbers of the width that x has."""
    return b.llvm.load(b.place(args[1], array, row, column, result.llvm), align=1)


@operation(lambda array, row, column: (vector_of(array), (array, types.intp, types.intp)))
def load(b, result, args, array, row, column):
    """The vector that begins at array[row, column]."""
    return b.llvm.load(b.place(args[0], array, row, column, result.llvm), align=1)


@operation(lambda array, row, column, count: (FLOATS, (array, types.intp, types.intp, count)))
def spread(b, result, args, array, row, column, _):
    """`count` scales from array[row, column] on (fp32, bf16 bits as uint16, fp16 bits as int16), each in its share of the
    lanes."""
    count, kind = args[3].literal_value, args[0].dtype
    few = ir.VectorType(INT(16) if kind.bitwidth == 16 else ir.FloatType(), count)
    v = b.llvm.load(b.place(args[0], array, row, column, few), align=1)
    if kind.bitwidth == 16:
        v = b.widened(v, fp16=kind.signed)
    return b.spread(v, FLOATS, count)


@operation(lambda v, array, row, column, count: (v, (v, array, types.intp, types.intp, count)))
def minus(b, result, args, v, array, row, column, _):
    """v - `count` zero points (uint8) from array[row, column] on, each in its share of the numbers. UNITS only: BYTES have
    no room for a sign and stay as they are (their zero points leave with `first_sum`)."""
    return v if result == BYTES else b.llvm.sub(v, b.zeros(args, array, row, column, result))


@operation(lambda x, sums, row, column: (INTS, (x, sums, types.intp, types.intp)))
def first_sum(b, result, args, x, sums, row, column):
    """Where a sum of products starts: at 0 for UNITS, for BYTES at sums[row, column] and on, lane by lane."""
    if args[0].dtype.bitwidth == 16:
        return INTS.of(0)
    return b.llvm.load(b.place(args[1], sums, row, column, INTS.llvm), align=1)


@operation(lambda sums, x, array, row, column, count: (INTS, (INTS, x, array, types.intp, types.intp, count)))
def times_zero(b, result, args, sums, x, array, row, column, _):
    """BYTES' first sum times the zero points, each in its share of the lanes; UNITS' stays."""
    wide = args[1].dtype.bitwidth == 16
    return sums if wide else b.llvm.mul(sums, b.zeros((result, *args[2:]), array, row, column, INTS))


@operation(lambda v, shift, mask: (v, (v, types.intp, types.intp)))
def field(b, v_type, args, v, shift, mask):
    """(v >> shift) & mask, number by number."""
    shift, mask = (b.splat(b.llvm.trunc(n, v_type.llvm.element), v_type) for n in (shift, mask))
    return b.llvm.and_(b.llvm.lshr(v, shift), mask)


@operation(lambda sums, u, v, bits: (INTS, (INTS, u, v, bits)))
def dot(b, result, args, sums, u, v, _):
    """sums + the products u · v, as many as fit a lane: exact. UNITS: two, signed. BYTES: four, u unsigned, v signed.

    bits: of u; two products of bytes fit 16 bits if it has fewer than 8.
    """
    whole, width = INTS.llvm, 32 * LANES
    if VNNI:
        name = "vpdpwssd" if args[1] == UNITS else "vpdpbusd"
        return b.call(f"llvm.x86.avx512.{name}.{width}", whole, sums, b.llvm.bitcast(u, whole), b.llvm.bitcast(v, whole))
    if "avx2" in HAS and args[1] == BYTES and args[3].literal_value < 8:
        u, v = b.call("llvm.x86.avx2.pmadd.ub.sw", UNITS.llvm, u, v), UNITS.of(1)
    if "avx2" in HAS and u.type == UNITS.llvm:
        return b.llvm.add(sums, b.call("llvm.x86.avx2.pmadd.wd", whole, u, v))
    wide = ir.VectorType(INT(32), args[1].count)
    products = b.llvm.mul((b.llvm.zext if args[1] == BYTES else b.llvm.sext)(u, wide), b.llvm.sext(v, wide))
    each = wide.count // LANES
    for i in range(each):
        mine = ir.Constant(whole, [lane * each + i for lane in range(LANES)])
        sums = b.llvm.add(sums, b.llvm.shuffle_vector(products, products, mine))
    return sums


@operation(lambda u, v: (FLOATS, (FLOATS, FLOATS)))
def times(b, result, args, u, v):
    """u · v, lane by lane."""
    return b.llvm.fmul(u, v, flags=FAST)


@operation(lambda sums, ints, scale: (FLOATS, (FLOATS, INTS, FLOATS)))
def add_scaled(b, result, args, sums, ints, scale):
    """sums + ints · scale, lane by lane, in fp32."""
    return b.llvm.fadd(sums, b.llvm.fmul(b.llvm.sitofp(ints, FLOATS.llvm), scale, flags=FAST), flags=FAST)


@operation(lambda v: (types.float32, (FLOATS,)))
def total(b, result, args, v):
    """The sum over the lanes."""
    return b.call(f"llvm.vector.reduce.fadd.v{LANES}f32", ir.FloatType(), ir.FloatType()(0.0), v, fastmath=FAST)


@operation(lambda count: (Room(FLOATS), (count,)))
def no_sums(b, result, args, _):
    """Room for `count` vectors of floats, all 0."""
    room = cgutils.alloca_once(b.llvm, FLOATS.llvm, size=args[0].literal_value)
    for i in range(args[0].literal_value):
        b.llvm.store(FLOATS.of(0.0), b.llvm.gep(room, [INT(64)(i)]))
    return room


@operation(lambda x, count: (Room(CODES[x.dtype.bitwidth]), (x, count)))
def room_as(b, result, args, x, _):
    """Room for `count` vectors of numbers as wide as x has."""
    return cgutils.alloca_once(b.llvm, result.vector.llvm, size=args[1].literal_value)


@operation(lambda room, i, v: (types.void, (room, types.intp, room.vector)))
def put(b, result, args, room, i, v):
    """room[i] = v."""
    b.llvm.store(v, b.llvm.gep(room, [i]))


@operation(lambda room, i: (room.vector, (room, types.intp)))
def get(b, result, args, room, i):
    """room[i]."""
    return b.llvm.load(b.llvm.gep(room, [i]))


@operation(lambda units, half: (FLOATS, (units, half)))
def floats(b, result, args, units, _):
    """The first (half = 0) or second (1) half of UNITS, in fp32."""
    first = args[1].literal_value * LANES
    part = b.llvm.shuffle_vector(units, units, ir.Constant(INTS.llvm, list(range(first, first + LANES))))
    return b.llvm.sitofp(part, FLOATS.llvm)


@operation(lambda array, row, column, low, high: (types.void, (array, types.intp, types.intp, FLOATS, FLOATS)))
def store(b, result, args, array, row, column, low, high):
    """2·LANES numbers from array[row, column] on: as fp32, or as bf16 bits (uint16), rounded to nearest even."""
    order = ir.Constant(ir.VectorType(INT(32), 2 * LANES), list(range(2 * LANES)))
    if args[0].dtype.bitwidth == 32:
        v = b.llvm.shuffle_vector(low, high, order)
    elif LANES == 16 and "avx512bf16" in HAS:
        v = b.call("llvm.x86.avx512bf16.cvtne2ps2bf16.512", UNITS.llvm, high, low)
    else:
        v = b.llvm.shuffle_vector(*(b.halves(half) for half in (low, high)), order)
    b.llvm.store(v, b.place(args[0], array, row, column, v.type), align=1)
