"""The pages at the top: the glossary's examples are true, and the architecture names every room."""

import re

import numpy as np

from oreflow.envs.composition.kernel import CompositionKernel
from oreflow.envs.composition.space import CompositionSpace
from oreflow.rewards.shaping import SHAPES
from tests.support.repository import ROOT

GLOSSARY = (ROOT / "GLOSSARY.md").read_text(encoding="utf-8")


def entries() -> dict[str, str]:
    text = GLOSSARY.partition("\n## ")[2]
    found = re.findall(r"^\*\*(.*?)\.\*\* (.*?)(?=\n\n|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    return {word: " ".join(body.split()) for word, body in found}


def test_each_word_has_one_sentence_and_one_example() -> None:
    words = entries()
    assert len(words) >= 30
    for word, body in words.items():
        meaning, mark, example = body.partition(" *Example:* ")
        assert mark, f"{word} has no example"
        assert example, f"{word} has no example"
        assert meaning.count(". ") == 0, f"{word} takes more than one sentence: {meaning}"


def test_examples_of_worlds() -> None:
    space = CompositionSpace(elements=("Li", "O"), n_elements=(1, 2), n_atoms=(2, 4), count=(1, 4), neutrality="off")
    kernel = CompositionKernel(space)
    state = kernel.initial(1)
    state[0, 0] = 3
    oxygen = kernel.forward_allowed(state)[0, 4:8]  # counts 1 to 4
    assert oxygen.tolist() == [True, False, False, False], entries()["Mask"]
    three = CompositionSpace(elements=("Li", "Mn", "O"), n_elements=(3, 3), n_atoms=(3, 3), neutrality="off")
    world = CompositionKernel(three).enumerate()
    orders = np.zeros(len(world.states))
    orders[0] = 1
    for parent, child in zip(world.parent, world.child):
        orders[child] += orders[parent]
    assert orders[world.can_stop].tolist() == [6.0], entries()["Build order"]


def test_examples_of_crystals() -> None:
    from oreflow.envs.objects.labels import protostructure_labels, wyckoff_labels
    from oreflow.envs.structure_io.encode import encode_structure
    from oreflow.envs.symmetry.eigensymmetry import has_more_symmetry
    from oreflow.envs.symmetry.flat_tables import group_tables
    from tests.support.prototypes import prototypes

    rock_salt = next(p for p in prototypes() if p.name == "rock salt")
    crystals = encode_structure(rock_salt.structure)
    assert wyckoff_labels(crystals)[0] in {"225: Na a, Cl b", "225: Cl a, Na b"}
    assert protostructure_labels(crystals)[0] in entries()["Protostructure"]
    site_offsets, letter, element = np.array([0, 2]), np.array([0, 1]), np.array([11, 17])
    more = [has_more_symmetry(group_tables(), np.array([g]), site_offsets, letter, element)[0] for g in (209, 225)]
    assert more == [True, False], entries()["Eigensymmetry"]


def test_examples_of_rewards() -> None:
    assert SHAPES["minimise"](beta=6.0)(np.array([-2.0]))[0] == 12.0


def test_the_architecture_names_every_room() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rooms = {f.parent.name for h in ("envs", "rewards", "agent") for f in (ROOT / h).rglob("__init__.py")}
    assert sorted(room for room in rooms if f"`{room}`" not in text) == []


def test_links_of_all_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    assert len(pages) > 12
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert "://" in target or (page.parent / target).exists(), f"{page}: {target}"
