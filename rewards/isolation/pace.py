"""How long objects take, and so how long to wait for many of them before each is asked alone."""

# A batch may take this many times what its size suggests before it is cut down to single formulas.
_PATIENCE = 10.0
_N_ALONE = 2


class Pace:
    """The seconds of one object, learned from what came.

    Args:
        time_limit_s: for one object, whatever was learned.
    """

    def __init__(self, time_limit_s: float) -> None:
        self._time_limit_s = time_limit_s
        self._n_learned, self._seconds_per_item = 0, 0.0

    def at_once(self, n: int) -> int:
        """How many of n objects to ask together.

        Two objects alone first: one to load what loads late, one to learn how long the rest may take.
        """
        return 1 if self._n_learned < _N_ALONE else n

    def limit_s(self, n: int) -> float:
        """How long n objects may take together."""
        limit = self._time_limit_s * n
        if self._n_learned >= _N_ALONE:
            limit = min(limit, max(self._time_limit_s, _PATIENCE * self._seconds_per_item * n))
        return limit

    def learn(self, seconds: float, n: int) -> None:
        """Note what n objects took together."""
        self._n_learned += 1
        weight = 1.0 if self._n_learned <= _N_ALONE else 0.2  # forgets the first, which had to load things
        self._seconds_per_item += weight * (seconds / n - self._seconds_per_item)
