"""Who holds a claim, and whether that process still lives.

No clock of the wall plays a part, for it may jump, and those of two machines differ. A process on this machine is
looked up. Of a process elsewhere one number is watched, its beat, which goes up while it lives: it counts as dead when
the beat has stood still for a lease of the monotonic clock of whoever watches.
"""

import contextlib
import getpass
import os
import platform
import time
import uuid
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """A process that holds claims.

    Attributes:
        id: of this process and no other.
        machine: where it runs: host, boot and, in a container, its numbering of processes.
        process: its number and start; "" where the system does not tell.
        name: user and host, for people.
    """

    id: str
    machine: str
    process: str
    name: str


def this_process() -> Owner:
    """Describe the process that asks."""
    host = platform.node()
    user = "somebody"
    with contextlib.suppress(OSError, KeyError):  # a container's user may have no name
        user = getpass.getuser()
    return Owner(uuid.uuid4().hex, _machine(host), _process(os.getpid()), f"{user}@{host}")


def is_dead_here(machine: str, process: str) -> bool | None:
    """Whether a process of this machine has ended; None where that cannot be told from here."""
    if not process or machine != _machine(platform.node()):
        return None
    return _process(int(process.split()[0])) != process


class Watch:
    """Follows the beats of processes elsewhere.

    Args:
        lease_s: so long a beat may stand still, in seconds of this process's monotonic clock.
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._seen: dict[str, tuple[int, float]] = {}

    def is_dead(self, owner: str, beat: int | None, machine: str, process: str) -> bool:
        """Whether the claims of an owner may be taken over; `beat` None is an owner that nothing is known of."""
        here = is_dead_here(machine, process)
        if here is not None:
            return here
        value = -1 if beat is None else beat
        now = time.monotonic()
        last, since = self._seen.get(owner, (None, now))
        if last != value:
            self._seen[owner] = (value, now)
            return False
        return now - since > self._lease_s


def _machine(host: str) -> str:
    """Host, boot and numbering of processes; only processes with the same can be looked up by their number."""
    parts = [host]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(os.readlink("/proc/self/ns/pid")))
    return " ".join(parts)[:200]


def _process(number: int) -> str:
    """Number and start of a process, "" where there is none or the system does not tell."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return ""
    return "" if fields[0] in "ZX" else f"{number} {fields[19]}"  # a zombie has ended
