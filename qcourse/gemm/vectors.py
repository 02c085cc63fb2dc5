"""Vectors for compiled loops: what numba cannot say in plain Python, one small operation each, in LLVM's own terms.

A loop over single numbers leaves it to the compiler to find vectors in it, and what it finds for packed codes is poor: a
sum across the lanes for every group. With these a loop says what it means: load 32 bytes, split them, multiply, add lane by
lane.

    BYTES (4·LANES int8)   UNITS (2·LANES int16)   INTS (LANES int32)   FLOATS (LANES fp32)

LANES is 16 where the processor has AVX-512 VNNI, else 8. `dot` takes the instruction made for it where there is one
(vpdpbusd, vpdpwssd; vpmaddubsw and vpmaddwd on AVX2); elsewhere LLVM finds the way. The results are the same integers.

Import it only where numba is installed.
"""

import inspect

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, register_model

HAS = {f[1:] for f in cpu_target.target_context.codegen().magic_tuple()[2].split(",") if f.startswith("+")}
VNNI = "avxvnni" in HAS or {"avx512vnni", "avx512vl"} <= HAS
LANES = 16 if {"avx512vnni", "avx512bw", "avx512vl"} <= HAS else 8
FAST = ("contract", "nsz", "reassoc")
INT = ir.IntType


class Vector(types.Type):
    """`count` numbers of one LLVM type in a register."""

    def __init__(self, name: str, element: ir.Type, count: int):
        self.count, self.llvm = count, ir.VectorType(element, count)
        super().__init__(f"{name}[{count}]")

    def of(self, value) -> ir.Constant:
        """The same constant everywhere."""
        return ir.Constant(self.llvm, [value] * self.count)


class Room(types.Type):
    """A few vectors in a row, addressed by number: registers, once the loops over them are unrolled."""

    def __init__(self, vector: Vector):
        self.vector, self.llvm = vector, vector.llvm.as_pointer()
        super().__init__(f"room of {vector}")


@register_model(Vector)
@register_model(Room)
class InRegister(models.PrimitiveModel):
    """Both are handed around as LLVM has them."""

    def __init__(self, manager, of):
        super().__init__(manager, of, of.llvm)


BYTES, UNITS = Vector("bytes", INT(8), 4 * LANES), Vector("units", INT(16), 2 * LANES)
INTS, FLOATS = Vector("ints", INT(32), LANES), Vector("floats", ir.FloatType(), LANES)
CODES = {8: BYTES, 16: UNITS}  # by the width of a number
PIECE = BYTES.count  # bytes of a packed row that are loaded at once


def operation(signature):
    """An operation of compiled loops: signature(*types) → (result, argument types), and how to build it from values.

    The function builds: (builder, result type, argument types, *values) → value.
    """

    def decorate(function):
        build = inspect.unwrap(function)  # the tests' shape checker wraps everything

        def typed(typing_context, *given):
            result, wanted = signature(*given)

            def generate(context, builder, sig, values):
                made = build(Builder(context, builder), result, sig.args, *values)
                return context.get_dummy_value() if result == types.void else made

            return result(*wanted), generate

        names = ("typing_context", *inspect.signature(signature).parameters)  # numba calls by these
        typed.__signature__ = inspect.Signature(
            [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in names]
        )
        typed.__name__, typed.__doc__ = function.__name__, function.__doc__
        return intrinsic(prefer_literal=True)(typed)

    return decorate


class Builder:
    """LLVM's builder and what its operations here have in common."""

    def __init__(self, context, builder):
        self.context, self.llvm = context, builder

    def spread(self, value, vector: Vector, count: int):
        """`count` values (a vector of them) → each in its share of the lanes."""
        shares = [i * count // vector.count for i in range(vector.count)]
        return self.llvm.shuffle_vector(value, value, ir.Constant(ir.VectorType(INT(32), vector.count), shares))

    def splat(self, value, vector: Vector):
        """One number → everywhere."""
        one = ir.Constant(ir.VectorType(value.type, 1), ir.Undefined)
        return self.spread(self.llvm.insert_element(one, value, INT(32)(0)), vector, 1)

    def widened(self, halves, fp16: bool):
        """bf16 or (finite) fp16 bits → fp32. fp16: sign and the rest 13 bits up, then the exponent's bias made good."""
        count, wide = halves.type.count, ir.VectorType(INT(32), halves.type.count)
        constant = lambda value, of=wide: ir.Constant(of, [value] * count)  # noqa: E731
        floats, bits = ir.VectorType(ir.FloatType(), count), self.llvm.zext(halves, wide)
        if not fp16:
            return self.llvm.bitcast(self.llvm.shl(bits, constant(16)), floats)
        small = self.llvm.shl(self.llvm.and_(bits, constant(0x7FFF)), constant(13))
        sign = self.llvm.shl(self.llvm.and_(bits, constant(0x8000)), constant(16))
        return self.llvm.fmul(self.llvm.bitcast(self.llvm.or_(small, sign), floats), constant(2.0**112, floats))

    def halves(self, floats):
        """FLOATS → bf16 bits, rounded to nearest even."""
        bits = self.llvm.bitcast(floats, INTS.llvm)
        odd = self.llvm.and_(self.llvm.lshr(bits, INTS.of(16)), INTS.of(1))
        up = self.llvm.add(bits, self.llvm.add(odd, INTS.of(0x7FFF)))
        return self.llvm.trunc(self.llvm.lshr(up, INTS.of(16)), ir.VectorType(INT(16), LANES))

    def zeros(self, args, array, row, column, vector: Vector):
        """Zero points (uint8) from array[row, column] on, each in its share of the vector."""
        few = ir.VectorType(INT(8), args[4].literal_value)
        v = self.llvm.load(self.place(args[1], array, row, column, few), align=1)
        return self.spread(self.llvm.zext(v, ir.VectorType(vector.llvm.element, few.count)), vector, few.count)

    def call(self, name: str, result: ir.Type, *values, **flags):
        """An instruction by LLVM's name for it."""
        of = ir.FunctionType(result, [v.type for v in values])
        return self.llvm.call(cgutils.get_or_insert_function(self.llvm.module, of, name), values, **flags)

    def place(self, array: types.Array, value, row, column, llvm: ir.Type):
        """A pointer to array[row, column], where something of another type is read or written."""
        a = self.context.make_array(array)(self.context, self.llvm, value)
        strides = cgutils.unpack_tuple(self.llvm, a.strides, array.ndim)
        step = strides[1].type(array.dtype.bitwidth // 8) if array.layout == "C" else strides[1]
        offset = self.llvm.add(self.llvm.mul(row, strides[0]), self.llvm.mul(column, step))
        place = self.llvm.gep(self.llvm.bitcast(a.data, INT(8).as_pointer()), [offset])
        return self.llvm.bitcast(place, llvm.as_pointer())
