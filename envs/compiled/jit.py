"""`njit`: numba's, with a cache on disk that no fault of the disk can turn into a failure.

numba raises where it finds no folder to cache in, and where a cached file is damaged or cannot be written. Here such a
function is compiled in memory instead, which takes some seconds at each start, and one warning a process says so. A
damaged file is replaced by the next compilation. A cache written for another processor is never read: numba's key names
the processor. Nor is one whose sources have changed, those of functions that were compiled into it included: numba
looks at the date of one file only.

Compilation that takes a while is announced once a process, as information of the logger `oreflow`.

numba takes half a second to import: import this module only where functions are compiled.
"""

import logging
import pickle
import re
import time
import warnings
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher
from numba.core.sigutils import normalize_signature
from numba.core.types.misc import unliteral

from oreflow.envs.compiled.callees import CalleeCompiler, is_callee

_DIGEST_BYTES = 32
_ROOT = Path(__file__).parents[3]  # the folder that holds oreflow
_IMPORT = re.compile(r"^\s*from (oreflow(?:\.\w+)+) import", re.MULTILINE)
_SECONDS_UNSAID = 2.0  # a compilation shorter than this is not worth a line
_warned = False
_compiling_since: float | None = None
_announced = False


class DamagedCacheError(Exception):
    """A file of the cache is not as it was written."""


class _CheckedFiles(IndexDataCacheFile):
    """Files of one function that end in their checksum: damaged machine code would be run otherwise."""

    def __init__(self, digest: str, **paths: Any) -> None:
        super().__init__(**paths)
        # Numba's own files and those of other sources count as another version's: they are not even read, which would
        # fail where a class that they name is gone.
        self._version += f" with checksums, of {digest}"

    def _dump(self, obj: Any) -> bytes:
        data = super()._dump(obj)
        return data + sha256(data).digest()  # behind the pickle's end, where its reader ignores it

    def _load_index(self) -> dict[Any, str]:
        start = pickle.dumps(self._version, protocol=-1)
        try:
            content = Path(self._index_path).read_bytes()
        except FileNotFoundError:
            return {}
        if content.startswith(start):  # not so in another version of numba, whose index does not count
            _check(content[len(start) :], self._index_path)
        return super()._load_index()

    def _load_data(self, name: str) -> Any:
        content = Path(self._data_path(name)).read_bytes()
        _check(content, self._data_path(name))
        return pickle.loads(content)


def _check(content: bytes, path: str) -> None:
    if sha256(content[:-_DIGEST_BYTES]).digest() != content[-_DIGEST_BYTES:]:
        raise DamagedCacheError(f"{path} is damaged")


class _ForgivingCache(FunctionCache):
    """numba's cache of one function; what fails is skipped with a warning."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = _CheckedFiles(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=self._impl.locator.get_source_stamp(),
            digest=source_digest(Path(function.__code__.co_filename)),
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            loaded = super().load_overload(sig, target_context)
        except Exception as error:  # unpickling damaged bytes can raise anything
            _warn(f"compiled functions cannot be read from the cache {self._cache_path}", error)
            loaded = None
        if loaded is None:
            _announce()
        return loaded

    def save_overload(self, sig: Any, data: Any) -> None:
        if is_callee(data):  # it is in the files of those that call it
            return
        try:
            try:
                super().save_overload(sig, data)
            except Exception:  # as above: a damaged index can raise anything
                self.flush()  # saving reads the index before it extends it: a damaged one is replaced by an empty one
                super().save_overload(sig, data)
        except Exception as error:
            _warn(f"compiled functions cannot be written to the cache {self._cache_path}", error)


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def _imported(path: Path) -> frozenset[Path]:
    """The files of this package that a source file imports."""
    files = {_ROOT.joinpath(*name.split(".")).with_suffix(".py") for name in _IMPORT.findall(_text(path))}
    return frozenset(file for file in files if file.is_file())


@cache
def source_digest(path: Path) -> str:
    """SHA-256 of a source file and of all files of this package that it imports, directly or not.

    Compiled code holds what it calls and the constants it reads, from whatever file; numba looks at one file's date.
    """
    found, new = set(), {path}
    while new:
        found |= new
        new = {file for importing in new for file in _imported(importing)} - found
    digest = sha256()
    for file in sorted(found):
        digest.update(f"{file.name}\0{_text(file)}\0".encode())
    return digest.hexdigest()


def _announce() -> None:
    """Says that functions are being compiled, when the first of them was begun a while ago."""
    global _compiling_since, _announced
    now = time.monotonic()
    if _compiling_since is None:
        _compiling_since = now
    elif not _announced and now - _compiling_since > _SECONDS_UNSAID:
        _announced = True
        logging.getLogger("oreflow").info(
            "compiling what this machine has not met before: some seconds for compositions, up to a minute for "
            "crystals; later commands find it in the cache"
        )


def _warn(what: str, error: Exception) -> None:
    """One warning a process, however many functions are affected."""
    global _warned
    if _warned:
        return
    _warned = True
    warnings.warn(
        f"{what} ({type(error).__name__}: {error}); they are compiled in memory, which makes the start slower: if this "
        "recurs, set the environment variable NUMBA_CACHE_DIR to a folder that can be written",
        RuntimeWarning,
        stacklevel=3,
    )


class _Dispatcher(CPUDispatcher):
    """numba's, which compiles a function for compiled callers another way than for Python; see `callees`."""

    _called = False  # whether what is being compiled is for compiled callers; read and set under numba's lock

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """Types a call by the types of its arguments alone: numba would compile anew for each constant given."""
        with global_compiler_lock:
            options, called = self._compiler.targetoptions, self._called
            self._compiler.targetoptions = options | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
            self._called = True
            try:
                return super().get_call_template(
                    tuple(map(unliteral, args)), {name: unliteral(value) for name, value in dict(kws).items()}
                )
            finally:
                self._compiler.targetoptions, self._called = options, called

    def compile(self, sig: Any) -> Any:
        """Compiles for the caller that there is; what was compiled for compiled callers does not serve Python."""
        with global_compiler_lock:  # another thread must not take a call from Python for one from compiled code
            if not self._called:
                types, _ = normalize_signature(sig)
                known = self.overloads.get(tuple(types))
                if known is not None and is_callee(known):
                    del self.overloads[tuple(types)]
            return super().compile(sig)

    def add_overload(self, cres: Any) -> None:
        """Registers a version; Python is not to find what has no wrapper."""
        if is_callee(cres):
            self.overloads[tuple(cres.signature.args)] = cres
        else:
            super().add_overload(cres)


def njit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """`numba.njit(cache=True, ...)`, compiled in memory where the cache cannot be used."""
    if function is None:
        return lambda decorated: njit(decorated, **options)
    if numba.config.DISABLE_JIT:
        return function
    dispatcher = _Dispatcher(
        function, targetoptions={"nopython": True, "boundscheck": None} | options, pipeline_class=CalleeCompiler
    )
    try:
        dispatcher._cache = _ForgivingCache(function)
    except (RuntimeError, OSError) as error:
        folder = numba.config.CACHE_DIR or Path(function.__code__.co_filename).parent / "__pycache__"
        _warn(f"compiled functions cannot be cached in {folder}", error)
    return dispatcher
