"""The nearest known name, for errors that ask: did you mean ...?"""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence fragment that lists near misses of `name`, or the known names when there is none."""
    known = list(known)
    by_lower_case = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(by_lower_case[c]) for c in close) + "?"
    return "known: " + ", ".join(known)
