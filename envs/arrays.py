"""Names of array types for signatures: the dtype is in the type, the shape in the docstring."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Int32s = NDArray[np.int32]
Int16s = NDArray[np.int16]
Int8s = NDArray[np.int8]
UInt8s = NDArray[np.uint8]
UInt64s = NDArray[np.uint64]
Floats = NDArray[np.float64]
Float32s = NDArray[np.float32]

States = NDArray[np.integer[Any]]  # of a kernel: each has the integer type that it declares
AnyInts = NDArray[np.integer[Any]]  # whole numbers of any width, such as atomic numbers that are only looked up
AnyFloats = NDArray[np.floating[Any]]  # float32 or float64
Arrays = dict[str, NDArray[Any]]  # by name, as a checkpoint holds them
