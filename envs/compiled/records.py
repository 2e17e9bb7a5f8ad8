"""Records: numbers, arrays and further records that compiled functions take as one argument.

A named tuple of sixty fields is some hundred and fifty arguments to the machine: every function that takes one repeats
them all, counts references to each array, and checks each one when Python calls it. Compiling the masks of crystals
spent most of its time on that. A record is one pointer to a block of memory that holds its numbers, and of each array
the address and the shape; compiled code reads a field where it needs it.

A record keeps its arrays alive, and lives as long as Python holds it: no compiled function may return one of its
arrays. Arrays may be written to, numbers cannot be changed.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from hashlib import sha256
from typing import Any, dataclass_transform

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.extending import NativeValue, lower_getattr_generic, models, register_model, typeof_impl, unbox
from numba.core.types.misc import MemInfoPointer
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr
from numba.np.numpy_support import from_dtype

_WORD = 8  # bytes; every number, address and length has as many


class RecordType(types.Type):
    """The type of records of one class whose fields have these types; equal ones are compiled once.

    Attributes:
        layout: of each field, its name, its type, and the first of its words.
    """

    def __init__(self, name: str, layout: tuple[tuple[str, types.Type, int], ...]) -> None:
        self.layout = layout
        # The name is part of the machine code's symbols, of each function that takes a record: it is kept short.
        digest = sha256(repr([(field, str(type_)) for field, type_, _ in layout]).encode()).hexdigest()
        super().__init__(name=f"{name}.{digest[:8]}")

    def field(self, name: str) -> tuple[types.Type | None, int]:
        """Find the type and the first word of a field; None where there is no such field."""
        for field, type_, word in self.layout:
            if field == name:
                return type_, word
        return None, 0


@dataclass_transform(frozen_default=True, eq_default=False)
class Record:
    """A frozen dataclass that compiled functions take as one pointer; see the module's docstring.

    Fields are bool, int, float, records, and arrays that are contiguous in C order and have at least one axis.

    Raises:
        TypeError: naming the field, for a value of another kind.
    """

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, eq=False)(cls)

    @cached_property
    def _packed(self) -> tuple[RecordType, Any]:
        """The type, and the block of memory as int64 words."""
        layout: list[tuple[str, types.Type, int]] = []
        words: list[int] = []
        for name in _names(type(self)):
            value = getattr(self, name)
            type_, own = _pack(value, f"{type(self).__name__}.{name}")
            layout.append((name, type_, len(words)))
            words += own
        return _record_type(type(self).__name__, tuple(layout)), np.array(words, dtype=np.int64)

    @cached_property
    def _address(self) -> int:
        return int(self._packed[1].ctypes.data)

    def __reduce__(self) -> Any:
        return type(self), tuple(getattr(self, name) for name in _names(type(self)))


_field_names: dict[type, tuple[str, ...]] = {}
_record_types: dict[Any, RecordType] = {}


def _names(cls: type) -> tuple[str, ...]:
    if cls not in _field_names:
        _field_names[cls] = tuple(field.name for field in fields(cls))
    return _field_names[cls]


def _record_type(name: str, layout: tuple[tuple[str, types.Type, int], ...]) -> RecordType:
    """The type, made once: records are made often."""
    key = (name, layout)
    if key not in _record_types:
        _record_types[key] = RecordType(name, layout)
    return _record_types[key]


def _pack(value: Any, name: str) -> tuple[types.Type, list[int]]:
    """The type of a field's value, and the words that stand for it."""
    if isinstance(value, np.ndarray):
        if not value.flags.c_contiguous or value.ndim == 0:
            raise TypeError(
                f"{name}: expected an array contiguous in C order with at least one axis, got {value.ndim} axes and "
                f"strides {value.strides}; use numpy.ascontiguousarray"
            )
        return types.Array(from_dtype(value.dtype), value.ndim, "C"), [value.ctypes.data, *value.shape]
    if isinstance(value, Record):
        return value._packed[0], [value._address]
    if isinstance(value, (bool, np.bool_)):
        return types.boolean, [int(value)]
    if isinstance(value, (int, np.signedinteger)):
        return types.int64, [int(value)]
    if isinstance(value, (float, np.floating)):
        return types.float64, [int(np.float64(value).view(np.int64))]
    raise TypeError(f"{name}: expected a bool, int, float, array or record, got {type(value).__name__}")


@typeof_impl.register(Record)
def _type_of(value: Record, _: Any) -> RecordType:
    return value._packed[0]


@register_model(RecordType)
class _Pointer(models.PrimitiveModel):
    def __init__(self, manager: Any, type_: RecordType) -> None:
        super().__init__(manager, type_, ir.IntType(8 * _WORD).as_pointer())


@unbox(RecordType)
def _unbox(_: RecordType, value: Any, c: Any) -> NativeValue:
    address = c.pyapi.object_getattr_string(value, "_address")
    pointer = c.pyapi.long_as_voidptr(address)
    c.pyapi.decref(address)
    return NativeValue(c.builder.bitcast(pointer, ir.IntType(8 * _WORD).as_pointer()))


@infer_getattr
class _Fields(AttributeTemplate):
    key = RecordType

    def generic_resolve(self, record: RecordType, attribute: str) -> types.Type | None:
        return record.field(attribute)[0]


@lower_getattr_generic(RecordType)
def _read_field(context: Any, builder: Any, record: RecordType, pointer: Any, attribute: str) -> Any:
    type_, first = record.field(attribute)

    def word(i: int, llvm_type: Any = None) -> Any:
        place = builder.gep(pointer, [ir.IntType(32)(first + i)], inbounds=True)
        if llvm_type is not None:
            place = builder.bitcast(place, llvm_type.as_pointer())
        value = builder.load(place)
        value.set_metadata("invariant.load", builder.module.add_metadata([]))  # so that loops read it once
        return value

    if isinstance(type_, RecordType):
        return word(0, ir.IntType(8 * _WORD).as_pointer())
    if isinstance(type_, types.Array):
        array = context.make_array(type_)(context, builder)
        size = context.get_abi_sizeof(context.get_data_type(type_.dtype))
        shape = [word(1 + axis) for axis in range(type_.ndim)]
        strides, n = [], ir.IntType(8 * _WORD)(1)
        for length in reversed(shape):
            strides.append(builder.mul(n, ir.IntType(8 * _WORD)(size)))
            n = builder.mul(n, length)
        array.data = word(0, context.get_data_type(type_.dtype).as_pointer())
        array.nitems, array.itemsize = n, ir.IntType(8 * _WORD)(size)
        array.shape = _sequence(builder, shape)
        array.strides = _sequence(builder, strides[::-1])
        array.meminfo = context.get_constant_null(MemInfoPointer(types.voidptr))  # not counted: see above
        array.parent = context.get_constant_null(types.pyobject)
        return array._getvalue()
    value = word(0, ir.DoubleType() if type_ == types.float64 else None)
    return context.cast(builder, value, types.int64, types.boolean) if type_ == types.boolean else value


def _sequence(builder: Any, values: list[Any]) -> Any:
    """The values as an LLVM array."""
    out = ir.Constant(ir.ArrayType(ir.IntType(8 * _WORD), len(values)), ir.Undefined)
    for i, value in enumerate(values):
        out = builder.insert_value(out, value, i)
    return out
