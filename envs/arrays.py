"""Names of array types for signatures: the dtype is in the type, the shape in the docstring."""

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Int32s = NDArray[np.int32]
Int16s = NDArray[np.int16]
Int8s = NDArray[np.int8]
UInt64s = NDArray[np.uint64]
Floats = NDArray[np.float64]
Float32s = NDArray[np.float32]
