"""Sixteen numbers side by side, rounded as C rounds one: operators between vectors, for loops whose bytes must be right.

    REALS (16 fp32)   WHOLES (16 int32)   TRUTHS (16 bits)      + - * /   & | ^ << >>   < <= > >= == !=

A number beside a vector stands for itself in every lane. Nothing is fused or reordered: in a task made with `jit.exact`,
each lane holds what plain C would compute for it. Memory is addressed by number (`t.data_ptr()`), in bytes. Import it only
where numba is installed.
"""

import operator

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature

from qcourse.gemm.vectors import INT, InRegister, Room, Vector, operation, register_model

COUNT, FLOAT = 16, ir.FloatType()


class Lanes(Vector):
    """`scalar`: what a number beside it becomes."""

    def __init__(self, name: str, element: ir.Type, scalar: types.Type):
        self.scalar = scalar
        super().__init__(name, element, COUNT)


register_model(Lanes)(InRegister)
REALS, WHOLES = Lanes("reals", FLOAT, types.float32), Lanes("wholes", INT(32), types.int32)
TRUTHS = Lanes("truths", INT(1), types.boolean)


def splat(builder, value, llvm: ir.VectorType):
    """One number → everywhere."""
    one = builder.insert_element(ir.Constant(llvm, ir.Undefined), value, INT(32)(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(INT(32), COUNT), [0] * COUNT))


def teach(sign, real: str | None, whole: str | None, compares: str = "") -> None:
    """What the operator `sign` does: LLVM's names for it on REALS and on integers, or a comparison."""

    @infer_global(sign)
    class Typed(AbstractTemplate):
        def generic(self, args, kws):
            """Two vectors of one kind, or one and a number."""
            vectors = {t for t in args if isinstance(t, Lanes)}
            if len(vectors) == 1 and all(isinstance(t, Lanes | types.Number) for t in args):
                (v,) = vectors
                return signature(TRUTHS if compares else v, *(t if t == v else v.scalar for t in args))

    def generate(context, builder, sig, values):
        v = next(t for t in sig.args if isinstance(t, Lanes))
        a, b = (x if t == v else splat(builder, x, v.llvm) for x, t in zip(values, sig.args, strict=True))
        if compares:
            kind = (
                builder.icmp_signed if v != REALS else builder.fcmp_unordered if compares == "!=" else builder.fcmp_ordered
            )
            return kind(compares, a, b)
        return getattr(builder, real if v == REALS else whole)(a, b)

    for pair in ((Lanes, Lanes), (Lanes, types.Number), (types.Number, Lanes)):
        lower_builtin(sign, *pair)(generate)


for sign, real, whole in (("add", "fadd", "add"), ("sub", "fsub", "sub"), ("mul", "fmul", "mul"), ("truediv", "fdiv", None),
                          ("and_", None, "and_"), ("or_", None, "or_"), ("xor", None, "xor"), ("lshift", None, "shl"),
                          ("rshift", None, "ashr")):  # fmt: skip
    teach(getattr(operator, sign), real, whole)
for sign, compares in (("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="), ("eq", "=="), ("ne", "!=")):
    teach(getattr(operator, sign), None, None, compares)


def pointer(b, address, llvm: ir.Type):
    """An address as a pointer."""
    return b.llvm.inttoptr(address, llvm.as_pointer())


@operation(lambda address: (REALS, (types.int64,)))
def reals_at(b, result, args, address):
    """The 16 numbers at an address."""
    return b.llvm.load(pointer(b, address, REALS.llvm), align=4)


@operation(lambda address, stride: (REALS, (types.int64, types.int64)))
def every(b, result, args, address, stride):
    """16 numbers, `stride` bytes apart."""
    found = ir.Constant(REALS.llvm, ir.Undefined)
    for i in range(COUNT):
        place = b.llvm.add(address, b.llvm.mul(stride, INT(64)(i)))
        found = b.llvm.insert_element(found, b.llvm.load(pointer(b, place, FLOAT)), INT(32)(i))
    return found


@operation(lambda address, v, count: (types.void, (types.int64, v, count)))
def write_first(b, result, args, address, v, _):
    """The low bytes of the first `count` WHOLES."""
    places = ir.Constant(ir.VectorType(INT(32), args[2].literal_value), list(range(args[2].literal_value)))
    v = b.llvm.trunc(b.llvm.shuffle_vector(v, v, places), ir.VectorType(INT(8), places.type.count))
    b.llvm.store(v, pointer(b, address, v.type), align=1)


@operation(lambda address, v: (types.void, (types.int64, v)))
def write_bytes(b, result, args, address, v):
    """The low bytes of WHOLES, 16 in a row."""
    v = b.llvm.trunc(v, ir.VectorType(INT(8), COUNT))
    b.llvm.store(v, pointer(b, address, v.type), align=1)


@operation(lambda first, second, odd: (first, (first, first, odd)))
def each_second(b, result, args, first, second, _):
    """Of two vectors as one row, the numbers at even (odd = 0) or odd (1) places."""
    places = ir.Constant(WHOLES.llvm, [2 * i + args[2].literal_value for i in range(COUNT)])
    return b.llvm.shuffle_vector(first, second, places)


@operation(lambda address, value, count: (types.void, (types.int64, types.int64, count)))
def write_number(b, result, args, address, value, _):
    """The low `count` bytes of an integer."""
    kind = INT(8 * args[2].literal_value)
    b.llvm.store(b.llvm.trunc(value, kind), pointer(b, address, kind), align=1)


@operation(lambda address: (types.float32, (types.int64,)))
def real_at(b, result, args, address):
    """The number at an address."""
    return b.llvm.load(pointer(b, address, FLOAT), align=4)


@operation(lambda number: (REALS, (types.float32,)))
def reals(b, result, args, number):
    """A number, everywhere."""
    return splat(b.llvm, number, REALS.llvm)


@operation(lambda v: (REALS if v == WHOLES else WHOLES, (v,)))
def bits_of(b, result, args, v):
    """The same bits, seen as the other kind."""
    return b.llvm.bitcast(v, result.llvm)


@operation(lambda v: (WHOLES, (v,)))
def whole(b, result, args, v):
    """REALS without their fraction (in range!); TRUTHS as 0 and 1."""
    return b.llvm.fptosi(v, WHOLES.llvm) if args[0] == REALS else b.llvm.zext(v, WHOLES.llvm)


@operation(lambda v: (REALS, (WHOLES,)))
def real(b, result, args, v):
    """Integers as fp32."""
    return b.llvm.sitofp(v, REALS.llvm)


@operation(lambda truth, yes, no: (yes, (TRUTHS, yes, yes if isinstance(no, Lanes) else yes.scalar)))
def where(b, result, args, truth, yes, no):
    """`yes` in the lanes where it is true, else `no` (a vector or a number)."""
    return b.llvm.select(truth, yes, no if args[2] == args[1] else splat(b.llvm, no, args[1].llvm))


@operation(lambda v: (REALS, (REALS,)))
def nearest(b, result, args, v):
    """Rounded to whole numbers, halves to even."""
    return b.call(f"llvm.nearbyint.v{COUNT}f32", REALS.llvm, v)


@operation(lambda v: (REALS, (REALS,)))
def magnitude(b, result, args, v):
    """|v|."""
    return b.call(f"llvm.fabs.v{COUNT}f32", REALS.llvm, v)


@operation(lambda v: (REALS, (REALS,)))
def root(b, result, args, v):
    """√v, rounded correctly."""
    return b.call(f"llvm.sqrt.v{COUNT}f32", REALS.llvm, v)


@operation(lambda v: (types.int32, (WHOLES,)))
def largest(b, result, args, v):
    """The largest of the 16."""
    return b.call(f"llvm.vector.reduce.smax.v{COUNT}i32", INT(32), v)


@operation(lambda truth: (types.int64, (TRUTHS,)))
def mask(b, result, args, truth):
    """A bit a lane."""
    return b.llvm.zext(b.llvm.bitcast(truth, INT(COUNT)), INT(64))


@operation(lambda v, i: (v.scalar, (v, types.int64)))
def lane(b, result, args, v, i):
    """The number in one lane."""
    return b.llvm.extract_element(v, i)


@operation(lambda v, count: (Room(v), (v, count)))
def room_like(b, result, args, v, _):
    """Room for `count` vectors like v, written with `put` and read with `get` (gemm.operations)."""
    return cgutils.alloca_once(b.llvm, result.vector.llvm, size=args[1].literal_value)
