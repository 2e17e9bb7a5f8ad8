"""What a transition kernel is, and what scores its terminal states.

A kernel is one Markov decision process written once: pure functions over integer arrays whose axis 0 is the batch. The
Gymnasium environments, the rollout and the torchgfn adapter are faces of it and hold no chemistry.
"""

from typing import Any, Protocol, runtime_checkable

from oreflow.envs.arrays import Bools, Floats, Ints, States


class EnumeratedWorld:
    """All states of a small kernel, level by level, with the transitions between them.

    Attributes:
        states: [state, ...], the non-terminal states; state 0 is the initial one, and every parent precedes its
            children.
        parent, child, action: int64 [edge], transitions between non-terminal states (stop excluded).
        can_stop: bool [state], where stopping yields a terminal object. Each such state is exactly one object.
    """

    def __init__(self, states: States, parent: Ints, child: Ints, action: Ints, can_stop: Bools) -> None:
        self.states = states
        self.parent = parent
        self.child = child
        self.action = action
        self.can_stop = can_stop

    @property
    def n_objects(self) -> int:
        """Number of terminal objects."""
        return int(self.can_stop.sum())


@runtime_checkable
class TransitionKernel(Protocol):
    """Batched, pure transition functions of one decision process.

    Masks are boolean, True means allowed, and they are the only judge of legality: `step` and `unstep` are defined for
    allowed actions alone. The stop action is the last forward action, un-stop the last backward action. Every sequence
    of allowed actions ends in a terminal state after at most `max_steps` actions.
    """

    n_actions: int
    n_backward_actions: int
    max_steps: int
    state_shape: tuple[int, ...]
    n_tokens: int
    """Network input is a bag of tokens: `encode` yields indices in [0, n_tokens), padded with n_tokens."""
    token_factors: Ints
    """int64 [n_tokens, factor]: tokens with the same id in a column have something in common (the same element, the
    same count), so that a network may share weights between them. Ids of a column run from 0."""
    action_factors: Ints
    """The same for forward actions without stop, int64 [n_actions - 1, factor]."""
    action_blocks: tuple[Ints, ...]
    """Blocks of forward actions, each ascending numbers (int64): all that a state allows lies in one of them, so that
    a network computes no more of its output layer. Together they hold every action; they may overlap."""

    @property
    def enumeration_unavailable_reason(self) -> str | None:
        """Why `enumerate` raises; None where it does not."""
        ...

    @property
    def state_high(self) -> States:
        """Largest value of each entry of a state, [*state_shape]; the smallest is 0."""
        ...

    def initial(self, batch: int) -> States:
        """Initial states [batch, *state_shape]."""
        ...

    def step(self, states: States, actions: Ints, out: States | None = None) -> States:
        """States after allowed forward actions [batch]; a row whose action is -1 stays as it is.

        Args:
            out: written to and returned instead of a new array; may be `states` itself.
        """
        ...

    def unstep(self, states: States, backward_actions: Ints) -> States:
        """States before, for allowed backward actions [batch]."""
        ...

    def forward_allowed(self, states: States, out: Bools | None = None) -> Bools:
        """Allowed forward actions, bool [batch, n_actions]; a row is all False exactly for terminal states.

        Written into `out` (C-contiguous), whatever it held, where it is given: masks are large.
        """
        ...

    def action_block(self, states: States) -> Ints:
        """The block in which all allowed actions of each state lie, int64 [batch]; any for terminal states."""
        ...

    def backward_allowed(self, states: States) -> Bools:
        """Allowed backward actions, bool [batch, n_backward_actions]; all False exactly for initial states."""
        ...

    def inverse_action(self, states: States, actions: Ints) -> Ints:
        """The backward action, int64 [batch], that leads from `step(states, actions)` to `states`."""
        ...

    def redo_action(self, states: States, backward_actions: Ints) -> Ints:
        """The forward action, int64 [batch], that leads from `unstep(states, backward_actions)` to `states`."""
        ...

    def is_terminal(self, states: States) -> Bools:
        """bool [batch]."""
        ...

    def encode(self, states: States) -> Ints:
        """Network input, int64 [batch, token], padded with `n_tokens`."""
        ...

    def describe(self, states: States) -> list[str]:
        """One line of text per state."""
        ...

    def objects(self, states: States) -> Any:
        """Terminal (or partial) states as the objects that rewards read."""
        ...

    def enumerate(self) -> EnumeratedWorld:
        """All states; raises ValueError with `enumeration_unavailable_reason` when there are too many."""
        ...


@runtime_checkable
class BuildsGeometry(Protocol):
    """A kernel that builds a decoration, closes it, and then builds a geometry of it."""

    def closes(self, actions: Ints) -> Bools:
        """Tell which forward actions close a decoration, bool [batch]."""
        ...

    def decorations(self, states: States) -> States:
        """States [batch, *state_shape] right after the decorations of terminal states were closed."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """Gives terminal states their reward, in log space."""

    def __call__(self, states: States) -> Floats:
        """log R as float64 [batch] of terminal states [batch, *state_shape]."""
        ...
