"""Vectors that compiled code keeps in registers, one number per lane.

Numba vectorizes only the innermost loop, and LLVM often picks vectors of half the possible width. A
loop over these vectors keeps several sums in registers, which a matrix product needs to run at the
speed of the processor. For example, `sums = y @ x` of a matrix x with LANES columns:

    @numba.njit
    def weighted_sum(x, y, sums):
        total = splat(LANES, np.float32(0))
        for row in range(len(x)):
            total = add_product(total, load(LANES, x, row), y[row])
        store(total, sums)

These functions are for code that Numba compiles. The number of lanes is a constant. Vectors of one
operation have the same length and dtype, float32 or float64. The code is written for LLVM (Language
Reference: vector type, `shufflevector`, `fmul contract`).
"""

from typing import no_type_check

from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.extending import intrinsic, models, register_model

# four sums of so many float32 numbers fill half of the registers of AVX-512, AVX2 or NEON
LANES = 64 if binding.get_host_cpu_features().get("avx512f") else 16
_ELEMENTS = {32: ir.FloatType(), 64: ir.DoubleType()}
_FUSED = ("contract",)  # lets a product and a sum be one instruction
_INDEX = ir.IntType(32)


class Lanes(types.Type):
    """The type of a vector of `count` numbers, each with `bits` bits."""

    def __init__(self, count: int, bits: int) -> None:
        self.count, self.bits = count, bits
        super().__init__(name=f"Lanes({count}, float{bits})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    @no_type_check
    def __init__(self, manager, lanes):
        super().__init__(manager, lanes, _vector(lanes))


@intrinsic(prefer_literal=True)
@no_type_check
def splat(_, count, x):
    """A vector with the number x in each of `count` lanes."""
    lanes = Lanes(count.literal_value, x.bitwidth)

    def code(_context, builder, _signature, arguments):
        return _splat(builder, arguments[1], lanes)

    return lanes(count, x), code


@intrinsic(prefer_literal=True)
@no_type_check
def load(_, count, array, row):
    """The first `count` numbers of a row."""
    lanes = Lanes(count.literal_value, array.dtype.bitwidth)

    def code(context, builder, signature, arguments):
        index = context.cast(builder, arguments[2], signature.args[2], types.intp)
        zero = ir.Constant(index.type, 0)
        pointer = _pointer(context, builder, lanes, array, arguments[1], [index, zero])
        return builder.load(pointer, align=lanes.bits // 8)

    return lanes(count, array, row), code


@intrinsic
@no_type_check
def store(_, x, array):
    """Writes a vector to the start of an array with one axis."""

    def code(context, builder, _signature, arguments):
        zero = ir.Constant(context.get_value_type(types.intp), 0)
        pointer = _pointer(context, builder, x, array, arguments[1], [zero])
        builder.store(arguments[0], pointer, align=x.bits // 8)
        return context.get_dummy_value()

    return types.void(x, array), code


@intrinsic
@no_type_check
def widened(_, x):
    """The vector in float64."""
    lanes = Lanes(x.count, 64)

    def code(_context, builder, _signature, arguments):
        return builder.fpext(arguments[0], _vector(lanes))

    return lanes(x), code


@intrinsic
@no_type_check
def add_product(_, total, x, factor):
    """`total + x * factor` with a number as factor, rounded once or twice."""

    def code(_context, builder, _signature, arguments):
        product = builder.fmul(arguments[1], _splat(builder, arguments[2], x), flags=_FUSED)
        return builder.fadd(arguments[0], product, flags=_FUSED)

    return total(total, x, factor), code


@intrinsic
@no_type_check
def add_squared_difference(_, total, x, number):
    """`total + (x - number)**2`, with square and sum rounded once or twice."""

    def code(_context, builder, _signature, arguments):
        difference = builder.fsub(arguments[1], _splat(builder, arguments[2], x))
        square = builder.fmul(difference, difference, flags=_FUSED)
        return builder.fadd(arguments[0], square, flags=_FUSED)

    return total(total, x, number), code


@intrinsic
@no_type_check
def larger(_, x, y):
    """The larger number in each lane; NaN is not allowed."""
    return x(x, y), _pick(">")


@intrinsic
@no_type_check
def smaller(_, x, y):
    """The smaller number in each lane; NaN is not allowed."""
    return x(x, y), _pick("<")


@intrinsic
@no_type_check
def where_larger(_, x, y, number, other):
    """`number` in the lanes where x is larger than y, elsewhere the lanes of the vector `other`."""

    def code(_context, builder, _signature, arguments):
        numbers = _splat(builder, arguments[2], other)
        return builder.select(builder.fcmp_ordered(">", *arguments[:2]), numbers, arguments[3])

    return other(x, y, number, other), code


@intrinsic
@no_type_check
def smallest(_, x):
    """The smallest number of a vector; its length is a power of two, and NaN is not allowed."""

    def code(context, builder, signature, arguments):
        vector, count = arguments[0], x.count
        while count > 1:
            count //= 2
            parts = range(count), range(count, 2 * count)
            masks = [ir.Constant(ir.VectorType(_INDEX, count), list(part)) for part in parts]
            low, high = (builder.shuffle_vector(vector, vector, mask) for mask in masks)
            vector = _pick("<")(context, builder, signature, (low, high))
        return builder.extract_element(vector, ir.Constant(_INDEX, 0))

    return getattr(types, f"float{x.bits}")(x), code


@intrinsic
@no_type_check
def bits_not_above(_, x, limit):
    """An integer whose bit i tells whether lane i, of at most 63 lanes, is not above the limit."""

    def code(_context, builder, _signature, arguments):
        bits = builder.fcmp_ordered("<=", arguments[0], _splat(builder, arguments[1], x))
        return builder.zext(builder.bitcast(bits, ir.IntType(x.count)), ir.IntType(64))

    return types.int64(x, limit), code


@intrinsic
@no_type_check
def first_bit(_, bits):
    """Position of the lowest set bit of a 64-bit integer; 64 if no bit is set."""

    def code(_context, builder, _signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(bits), code


@no_type_check
def _vector(lanes):
    return ir.VectorType(_ELEMENTS[lanes.bits], lanes.count)


@no_type_check
def _splat(builder, x, lanes):
    first = builder.insert_element(ir.Constant(_vector(lanes), ir.Undefined), x, _INDEX(0))
    zeros = ir.Constant(ir.VectorType(_INDEX, lanes.count), [0] * lanes.count)
    return builder.shuffle_vector(first, first, zeros)


@no_type_check
def _pick(relation):
    """Code that takes, in each lane, the number for which `number relation other` holds."""

    def code(_context, builder, _signature, arguments):
        return builder.select(builder.fcmp_ordered(relation, *arguments), *arguments)

    return code


@no_type_check
def _pointer(context, builder, lanes, array_type, array, indices):
    if array_type.layout != "C":
        raise TypingError(f"vectors need contiguous rows, got {array_type}")
    view = context.make_array(array_type)(context, builder, array)
    item = cgutils.get_item_pointer(context, builder, array_type, view, indices, wraparound=False)
    return builder.bitcast(item, _vector(lanes).as_pointer())
