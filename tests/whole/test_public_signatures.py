"""What a reader can count on: each public function says what it does, and each array what its numbers are."""

import ast
from collections.abc import Iterator

import pytest

from tests.support.repository import ROOT

PACKAGES = ("agent", "envs", "rewards")
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def public_definitions(body: list[ast.stmt]) -> Iterator[Definition]:
    """Public functions and classes of a file, and the public methods of its public classes."""
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body)


def annotations(node: Definition) -> list[ast.expr]:
    """Types of arguments and result of a function; of a class, those of its fields."""
    if isinstance(node, ast.ClassDef):
        return [line.annotation for line in node.body if isinstance(line, ast.AnnAssign)]
    arguments = node.args
    each = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return [a for a in [*(x.annotation for x in each if x is not None), node.returns] if a is not None]


def has_untyped_array(annotation: ast.expr) -> bool:
    """Whether a type names an array without saying what its numbers are; text, as in "np.ndarray", counts too."""
    if any(isinstance(part, ast.Constant) and "ndarray" in str(part.value) for part in ast.walk(annotation)):
        return True
    typed = {id(part.value) for part in ast.walk(annotation) if isinstance(part, ast.Subscript)}
    names = (part for part in ast.walk(annotation) if isinstance(part, ast.Name | ast.Attribute))
    return any(ast.unparse(name).split(".")[-1] in ("ndarray", "NDArray") and id(name) not in typed for name in names)


def faults(source: str) -> list[str]:
    found = []
    for node in public_definitions(ast.parse(source).body):
        overloaded = any("overload" in ast.unparse(decorator) for decorator in node.decorator_list)
        if ast.get_docstring(node) is None and not overloaded:
            found.append(f"{node.lineno} {node.name}: no docstring")
        if any(map(has_untyped_array, annotations(node))):
            found.append(f"{node.lineno} {node.name}: an array whose dtype is not said (see envs/arrays.py)")
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_public_functions_have_a_docstring_and_typed_arrays(package):
    files = [p for p in sorted((ROOT / package).rglob("*.py")) if not {"templates", "data"} & set(p.parts)]
    assert len(files) > 50
    found = [f"{path.relative_to(ROOT)}:{fault}" for path in files for fault in faults(path.read_text())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("def f():\n    return 1", "1 f: no docstring"),
        ("class A:\n    '''A.'''\n    def f(self): ...", "3 f: no docstring"),
        ("def f(x: np.ndarray):\n    '''F.'''", "1 f: an array"),
        ("def f(x: 'np.ndarray | None'):\n    '''F.'''", "1 f: an array"),
        ("def f() -> tuple[int, NDArray]:\n    '''F.'''", "1 f: an array"),
        ("class A:\n    '''A.'''\n    x: dict[str, np.ndarray]", "1 A: an array"),
        ("def f(*x: np.ndarray):\n    '''F.'''", "1 f: an array"),
    ],
)
def test_each_fault_is_found(source, fault):
    (found,) = faults(source)
    assert found.startswith(fault)


@pytest.mark.parametrize(
    "source",
    ["def _f(x: np.ndarray): ...", "def f(x: NDArray[np.int8], y: Ints) -> np.ndarray[Any, Any]:\n    '''F.'''"],
)
def test_what_is_private_or_typed_is_no_fault(source):
    assert faults(source) == []
