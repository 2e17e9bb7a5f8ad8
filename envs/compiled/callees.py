"""Functions that compiled functions call, compiled once and built into whoever calls them.

numba optimises a function together with all that it calls, makes machine code of it, wraps it for Python, and does so
again for each function on the way up: what lies ten calls below the masks of crystals was optimised ten times. Here a
function that is compiled because another one calls it stays as LLVM's representation has it: it gets neither machine
code nor a wrapper. Only functions that Python calls are optimised, each with everything below it, once. The code that
runs is the same.
"""

from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.environment import lookup_environment

_ENVIRONMENT = "_ZN08NumbaEnv"  # how numba names the global variables that point to a function's constants


class _NoEnvironment:
    """A code generator that leaves the environment alone: it is set where there is machine code."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def set_env(self, *_: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)


class _Callee(JITCodeLibrary):
    """The code of a function that others call, with all that it calls itself; not optimised as a whole."""

    @property
    def codegen(self) -> Any:
        """Give numba's code generator, without what needs machine code."""
        return _NoEnvironment(self._codegen)

    def finalize(self) -> None:
        """Link what it calls."""
        _link(self)
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Answer as for a function without a wrapper for Python."""
        self._ensure_finalized()
        return 0


class _Entry(JITCodeLibrary):
    """The code of a function that Python calls."""

    def finalize(self) -> None:
        """Link, optimise, and make machine code; then give the functions built in their environments."""
        super().finalize()
        for variable in self._final_module.global_variables:
            if variable.name.startswith(_ENVIRONMENT):
                environment = lookup_environment(variable.name)
                if environment is not None:
                    self._codegen.set_env(variable.name, environment)


class _OptimisedCallee(_Callee):
    """The code of a function that others call, optimised before it is built in.

    Where sums may be reordered (`fastmath`), their last digits depend on how loops were turned into lanes: they are to
    be those that numba's cache gives, and the same at the first start as at later ones.
    """

    def finalize(self) -> None:
        """Link what it calls, and optimise."""
        _link(self)
        self._optimize_final_module()
        self._finalized = True


def _link(library: Any) -> None:
    """Link the modules of the libraries that a library uses into its own."""
    seen = set()
    for used in library._linking_libraries:
        if used not in seen:
            seen.add(used)
            library._reload_init.update(used._reload_init)
            library._final_module.link_in(used._get_module_for_linking(), preserve=True)


class CalleeCompiler(Compiler):
    """numba's compiler; functions that get no wrapper for Python become callees."""

    def __init__(self, typing: Any, target: Any, library: Any, args: Any, returns: Any, flags: Any, known: Any) -> None:
        if library is None:
            kind: type = _Entry
            if flags.no_cpython_wrapper:
                kind = _OptimisedCallee if flags.fastmath.flags else _Callee
            library = kind(target.codegen(), kind.__name__)
            library.enable_object_caching()
        super().__init__(typing, target, library, args, returns, flags, known)


def is_callee(compiled: Any) -> bool:
    """Tell whether a compiled function (numba's `CompileResult`) serves compiled callers only."""
    return isinstance(compiled.library, _Callee)
