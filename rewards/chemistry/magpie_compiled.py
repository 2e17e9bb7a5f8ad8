"""The compiled loop behind `rewards.chemistry.magpie`; imported on first use because numba is slow to import."""

import numpy as np

from oreflow.envs.arrays import AnyFloats, AnyInts, Bools, Floats
from oreflow.envs.compiled.jit import njit


@njit
def _gcd(a: int, b: int) -> int:
    while b:
        a, b = b, a % b
    return a


# One thread on purpose: numba's threads forbid a later fork and concurrent callers, and the network behind these
# features takes twenty times as long. `nogil` lets callers use threads of their own.
@njit(nogil=True)
def magpie_kernel(atomic_numbers: AnyInts, counts: AnyInts, table: Floats, features: AnyFloats, valid: Bools) -> None:
    """Writes features [batch, 6 * property] and valid [batch] in place.

    Args:
        atomic_numbers: int16 [batch, slot], 0 pads on the right.
        counts: int32 [batch, slot].
        table: float64 [119, property], NaN where unknown.
        features: float32 or float64 [batch, 6 * property], out.
        valid: bool [batch], out.
    """
    n_properties = table.shape[1]
    for row in range(atomic_numbers.shape[0]):
        n, divisor, largest, total = 0, 0, 0, 0
        for slot in range(atomic_numbers.shape[1]):
            if atomic_numbers[row, slot] == 0:
                break
            n += 1
            divisor = _gcd(divisor, counts[row, slot])
            largest = max(largest, counts[row, slot])
            total += counts[row, slot]
        if total == 0:
            features[row, :] = np.nan
            valid[row] = False
            continue

        # Reduced counts as weights: the result is then the same, bit for bit, for any number of formula units.
        inverse_total = 1.0 / (total // divisor)
        # matminer takes as mode every element whose amount is np.isclose to the largest one.
        mode_threshold = largest // divisor * (1.0 - 1e-5) - 1e-8
        ok = True
        for p in range(n_properties):
            low, high, mean, mode = np.inf, -np.inf, 0.0, np.inf
            for slot in range(n):
                x = table[atomic_numbers[row, slot], p]
                weight = counts[row, slot] // divisor
                # A NaN makes the mean NaN; the comparisons alone would drop it in silence.
                mean += weight * x
                low = min(low, x)
                high = max(high, x)
                if weight >= mode_threshold:
                    mode = min(mode, x)
            mean *= inverse_total
            if np.isnan(mean):
                features[row, 6 * p : 6 * p + 6] = np.nan
                ok = False
                continue
            deviation = 0.0
            for slot in range(n):
                x = table[atomic_numbers[row, slot], p]
                deviation += counts[row, slot] // divisor * abs(x - mean)
            features[row, 6 * p] = low
            features[row, 6 * p + 1] = high
            features[row, 6 * p + 2] = high - low
            features[row, 6 * p + 3] = mean
            features[row, 6 * p + 4] = deviation * inverse_total
            features[row, 6 * p + 5] = mode
        valid[row] = ok
