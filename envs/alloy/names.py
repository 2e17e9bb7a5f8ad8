"""Names of alloys as the field writes them: CoCrFeMnNi, Al0.5CoCrFeNi, Co10Cr10Fe40Mn40."""

from collections import Counter

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.objects.compositions import Compositions

_DECIMALS = 4


def alloy_names(alloys: Compositions) -> list[str]:
    """Write each alloy by its symbols in alphabetical order.

    Equimolar alloys have no numbers. Where more than half of the elements share one concentration, the others are given
    relative to it, as in Al0.5CoCrFeNi, if four decimals suffice. All other alloys have their atomic percents, as in
    Co10Cr10Fe40Mn40. Different alloys have different names.
    """
    names = symbols()
    rows = zip(alloys.atomic_numbers.tolist(), alloys.counts.tolist())
    return [_name([(names[z], n) for z, n in zip(zs, counts) if z]) for zs, counts in rows]


def _name(amounts: list[tuple[str, int]]) -> str:
    if not amounts:
        return ""
    amounts = sorted(amounts)
    common, times = Counter(n for _, n in amounts).most_common(1)[0]
    exact = all((10**_DECIMALS * n) % common == 0 for _, n in amounts)
    if 2 * times > len(amounts) and exact:
        return "".join(symbol + ("" if n == common else f"{n / common:.{_DECIMALS}g}") for symbol, n in amounts)
    total = sum(n for _, n in amounts)
    return "".join(f"{symbol}{100 * n / total:.5g}" for symbol, n in amounts)


def mixing_entropy(alloys: Compositions) -> Floats:
    """Compute the ideal entropy of mixing, -sum x ln x, in units of the gas constant R, float64 [batch].

    Source: J.-W. Yeh et al., Adv. Eng. Mater. 6, 299 (2004), equation 1; ln 5 = 1.609 for an equimolar quinary.
    """
    x = alloys.counts / np.maximum(alloys.n_atoms, 1)[:, None]
    return -np.where(x > 0, x * np.log(np.where(x > 0, x, 1.0)), 0.0).sum(axis=1)
