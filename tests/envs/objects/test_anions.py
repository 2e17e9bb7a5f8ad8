"""Names of anion chemistries and written formulas, against what chemists call and write a list of compounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition

from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.objects.anions import anion_chemistries, are_rare_earth_mixtures
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import formula_as_written, formula_columns, parse_formula, parse_formulas

CHEMISTRIES = {
    "oxide": "Fe2O3 LiCoO2 BaTiO3 SeO2 TeO2 SbVO4 As2O Li2O2 H2O Nb2O5 GeO2 ZrW2O8 La2O3 Bi2O3",
    "phosphate": "LiFePO4 Fe2P2O7 VPO5 Ca5(PO4)3F NaPO3",
    "silicate": "MgSiO3 Zr(SiO4) Al2SiO5 SiO2",
    "sulfate": "CuSO4 Na2SO3 Fe2(SO4)3",
    "carbonate": "CaCO3 NaHCO3 Na2C2O4",
    "nitrate": "KNO3 Ca(NO3)2",
    "borate": "LiBO2 Mg3(BO3)2 B2O3",
    "arsenate": "AlAsO4 As2O3",
    "selenate": "Na2SeO4 CuSeO3",
    "tellurate": "Na2TeO4 CuTeO3",
    "iodate": "KIO3",
    "hydroxide": "NaOH Ca(OH)2 AlOOH",
    "oxyfluoride": "LaOF TiOF2",
    "oxychloride": "BiOCl FeOCl",
    "oxyselenide": "La2O2Se",
    "oxysulfide": "La2O2S",
    "oxynitride": "TaON LaTiO2N",
    "oxyarsenide": "LaFeAsO",
    "fluoride": "NaF K2NaAlF6 NaPF6 LiBF4",
    "chloride": "NaCl K2PdCl4 PCl5",
    "bromide": "CsPbBr3",
    "iodide": "CsPbI3",
    "mixed halide": "PbFCl CsPbBr2I",
    "sulfide": "FeS2 Li3PS4 Li6PS5Cl Li10GeP2S12",
    "selenide": "Bi2Se3 CuInSe2 CdSeTe",
    "telluride": "Bi2Te3 GeTe",
    "nitride": "GaN Li3N BN",
    "phosphide": "InP",
    "arsenide": "GaAs",
    "antimonide": "ZnSb CoSb3",
    "carbide": "TiC SiC",
    "hydride": "LiH NaBH4 LiAlH4",
    "boride": "MgB2",
    "silicide": "MoSi2 CaAl2Si2",
    "intermetallic": "Li2ZnSn NiAl CaAl2Ge2 Mg3Bi2",
}


@pytest.mark.parametrize("name", CHEMISTRIES)
def test_each_chemistry(name: str) -> None:
    formulas = CHEMISTRIES[name].split()
    compositions, _, errors = parse_formulas(formulas)
    assert not any(errors)
    assert dict(zip(formulas, anion_chemistries(compositions))) == dict.fromkeys(formulas, name)


def test_mixtures_of_rare_earths() -> None:
    formulas = ["La2O3", "LaErF6", "YScO3", "NdFeB", "CeGdTbO6", "BaThO3", "HfLuO4"]
    found = are_rare_earth_mixtures(parse_formulas(formulas)[0])
    assert found == [False, True, True, False, True, False, False]


@pytest.mark.parametrize(
    ("formula", "written"),
    [
        ("LiFePO4", "LiFePO4"),
        ("Ca(AlSi)2", "CaAl2Si2"),
        ("LiCo2O4", "LiCo2O4"),
        ("BaFe2O4", "BaFe2O4"),
        ("CaN2O6", "Ca(NO3)2"),
        ("CaO2H2", "Ca(OH)2"),
        ("NaOH", "NaOH"),
        ("Fe2S3O12", "Fe2(SO4)3"),
        ("ZnC2N2", "Zn(CN)2"),
        ("Al2Mo3O12", "Al2(MoO4)3"),
        ("NaN", "NaN"),
        ("LiPS3Li", "Li2PS3"),
        ("MgP2S6", "MgP2S6"),
    ],
)
def test_formulas_as_written(formula: str, written: str) -> None:
    columns = formula_columns(parse_formulas([formula])[0])
    assert [formula_as_written(pretty) for pretty in columns["formula_pretty"]] == [written]


ELEMENTS = st.sampled_from([z for z in range(1, 95) if symbols()[z] not in ("He", "Ne", "Ar", "Kr", "Xe", "Rn")])


@given(st.dictionaries(ELEMENTS, st.integers(1, 12), min_size=1, max_size=5))
def test_a_written_formula_is_the_same_compound_and_begins_with_its_cation(counts: dict[int, int]) -> None:
    reduced = Compositions.from_dicts([counts]).reduced()
    (pretty,) = formula_columns(reduced)["formula_pretty"]
    written = parse_formula(formula_as_written(pretty))
    assert Compositions.from_dicts([written]).reduced().formulas() == reduced.formulas()
    assert next(iter(Composition(formula_as_written(pretty)))) == next(iter(Composition(pretty)))
