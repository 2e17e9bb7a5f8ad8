"""The constraints of a composition world as flat numbers that compiled code reads."""

from oreflow.envs.arrays import Ints
from oreflow.envs.compiled.jit import njit
from oreflow.envs.compiled.records import Record


class Rules(Record):
    """The constraints of a composition world as plain numbers and arrays, elements grouped into classes.

    Elements of one class are interchangeable but for their identity: same oxidation states, count range and groups.
    """

    n: int
    n_elements_min: int
    n_elements_max: int
    n_atoms_min: int
    n_atoms_max: int
    count_min: int  # smallest count of any element: action column 0
    width: int  # number of counts an element may have, hence columns per element
    all_groups: int  # bit mask of all required groups
    canonical: bool
    class_of: Ints  # [n]
    class_groups: Ints  # [class], group bits that a member meets
    class_low: Ints  # [class], smallest count
    class_high: Ints  # [class], largest count
    member_start: Ints  # [class + 1]
    members: Ints  # [n], elements by class, ascending within a class
    element_groups: Ints  # [n]
    delta_start: Ints  # [class * width + 1]
    deltas: Ints  # charges (e) that `count` atoms of the class can carry together
    next_radical: Ints  # [radical, width], index of the radical of the greatest common divisor; 0: empty
    coprime: int  # the radical index of gcd 1
    n_charges: int  # charges in the window
    zero_charge: int  # index of charge 0 in the window


@njit
def may_stop(rules: Rules, k: int, a: int, r: int, groups: int) -> bool:
    """All terminal constraints but neutrality."""
    return (
        k >= rules.n_elements_min
        and rules.n_atoms_min <= a <= rules.n_atoms_max
        and r == rules.coprime
        and groups == rules.all_groups
    )
