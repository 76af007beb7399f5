"""Names for the arrays that modules hand to each other; shapes stand where they are used."""

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.integer]  #: of any width
Mask = npt.NDArray[np.bool_]
