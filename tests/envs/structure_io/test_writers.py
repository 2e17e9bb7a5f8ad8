"""Rutile as the common programs write it: databases, editors, simulation codes and libraries.

Texts by hand follow the manner of their writers: comments, order of items, spelling of symbols, uncertainties. Files
of pymatgen and ASE are written by them.
"""

from collections.abc import Callable
from pathlib import Path

import ase.io
import ase.spacegroup
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp import Poscar

from oreflow.envs.structure_io.reading.files import read_structure_files

pytestmark = [
    pytest.mark.kind("structures: as databases and programs write them"),
    pytest.mark.filterwarnings("ignore"),  # of the writers
]
SITES = [[0, 0, 0], [0.305, 0.305, 0]]
RUTILE = Structure.from_spacegroup("P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], SITES)
SAME = StructureMatcher(ltol=1e-3, stol=1e-3, angle_tol=0.1, scale=False)

VESTA = """
#======================================================================
# CRYSTAL DATA
#----------------------------------------------------------------------
data_VESTA_phase_1

_chemical_name_common                  'TiO2                                  '
_cell_length_a                         4.594000
_cell_length_b                         4.594000
_cell_length_c                         2.959000
_cell_angle_alpha                      90.000000
_cell_angle_beta                       90.000000
_cell_angle_gamma                      90.000000
_cell_volume                           62.449
_space_group_name_H-M_alt              'P 42/m n m'
_space_group_IT_number                 136

loop_
_space_group_symop_operation_xyz
   'x, y, z'
   '-x, -y, -z'
   '-x, -y, z'
   'x, y, -z'
   '-y+1/2, x+1/2, z+1/2'
   'y+1/2, -x+1/2, -z+1/2'
   'y+1/2, -x+1/2, z+1/2'
   '-y+1/2, x+1/2, -z+1/2'
   '-x+1/2, y+1/2, -z+1/2'
   'x+1/2, -y+1/2, z+1/2'
   'x+1/2, -y+1/2, -z+1/2'
   '-x+1/2, y+1/2, z+1/2'
   'y, x, -z'
   '-y, -x, z'
   '-y, -x, -z'
   'y, x, z'

loop_
   _atom_site_label
   _atom_site_occupancy
   _atom_site_fract_x
   _atom_site_fract_y
   _atom_site_fract_z
   _atom_site_adp_type
   _atom_site_U_iso_or_equiv
   _atom_site_type_symbol
   Ti1        1.0     0.000000     0.000000     0.000000    Uiso  ? Ti
   O1         1.0     0.305000     0.305000     0.000000    Uiso  ? O
"""
MATERIALS_STUDIO = """data_TiO2
_audit_creation_date              2024-01-01
_audit_creation_method            'Materials Studio'
_symmetry_space_group_name_H-M    'P42/MNM'
_symmetry_Int_Tables_number       136
_symmetry_cell_setting            tetragonal
loop_
_symmetry_equiv_pos_as_xyz
  x,y,z
  -x,-y,z
  -y+1/2,x+1/2,z+1/2
  y+1/2,-x+1/2,z+1/2
  -x+1/2,y+1/2,-z+1/2
  x+1/2,-y+1/2,-z+1/2
  y,x,-z
  -y,-x,-z
  -x,-y,-z
  x,y,-z
  y+1/2,-x+1/2,-z+1/2
  -y+1/2,x+1/2,-z+1/2
  x+1/2,-y+1/2,z+1/2
  -x+1/2,y+1/2,z+1/2
  -y,-x,z
  y,x,z
_cell_length_a                    4.5940
_cell_length_b                    4.5940
_cell_length_c                    2.9590
_cell_angle_alpha                 90.0000
_cell_angle_beta                  90.0000
_cell_angle_gamma                 90.0000
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_U_iso_or_equiv
_atom_site_adp_type
_atom_site_occupancy
Ti1    Ti    0.00000   0.00000   0.00000   0.00000  Uiso   1.00
O1     O     0.30500   0.30500   0.00000   0.00000  Uiso   1.00
loop_
_geom_bond_atom_site_label_1
_geom_bond_atom_site_label_2
_geom_bond_distance
Ti1    O1     1.9800
"""
ICSD = """#(C) 2024 by FIZ Karlsruhe - Leibniz Institute for Information Infrastructure.  All rights reserved.
data_9161-ICSD
_database_code_ICSD 9161
_audit_creation_date 1980-01-01
_chemical_name_common 'Titanium oxide'
_chemical_formula_structural 'Ti O2'
_chemical_formula_sum 'O2 Ti1'
_chemical_name_structure_type TiO2-tP6
_exptl_crystal_density_diffrn 4.25
_cell_length_a 4.594(1)
_cell_length_b 4.594(1)
_cell_length_c 2.959(1)
_cell_angle_alpha 90.
_cell_angle_beta 90.
_cell_angle_gamma 90.
_cell_volume 62.45
_cell_formula_units_Z 2
_space_group_name_H-M_alt 'P 42/m n m'
_space_group_IT_number 136
loop_
_space_group_symop_id
_space_group_symop_operation_xyz
1 'y, x, -z'
2 '-y, -x, -z'
3 'x+1/2, -y+1/2, -z+1/2'
4 '-x+1/2, y+1/2, -z+1/2'
5 'y+1/2, -x+1/2, -z+1/2'
6 '-y+1/2, x+1/2, -z+1/2'
7 'x, y, -z'
8 '-x, -y, -z'
9 '-y, -x, z'
10 'y, x, z'
11 '-x+1/2, y+1/2, z+1/2'
12 'x+1/2, -y+1/2, z+1/2'
13 '-y+1/2, x+1/2, z+1/2'
14 'y+1/2, -x+1/2, z+1/2'
15 '-x, -y, z'
16 'x, y, z'
loop_
_atom_type_symbol
_atom_type_oxidation_number
Ti4+ 4
O2- -2
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_symmetry_multiplicity
_atom_site_Wyckoff_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_B_iso_or_equiv
_atom_site_occupancy
Ti1 Ti4+ 2 a 0 0 0 . 1.
O1 O2- 4 f 0.305 0.305(1) 0. . 1.
#End of TTdata_9161-ICSD
"""
COD = """#------------------------------------------------------------------------------
#$Date: 2016-02-13 $
data_9004141
loop_
_publ_author_name
'Meagher, E. P.'
'Lager, G. A.'
_publ_section_title
;
 Polyhedral thermal expansion in the TiO2 polymorphs: data_x loop_ _cell_length_a 9
;
_chemical_formula_sum            'O2 Ti'
_space_group_IT_number           136
_symmetry_space_group_name_Hall  '-P 4n 2n'
_symmetry_space_group_name_H-M   'P 42/m n m'
_cell_angle_alpha                90
_cell_angle_beta                 90
_cell_angle_gamma                90
_cell_length_a                   4.594
_cell_length_b                   4.594
_cell_length_c                   2.959
_cod_database_code               9004141
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_U_iso_or_equiv
Ti 0.00000 0.00000 0.00000 0.00507
O 0.30500 0.30500 0.00000 0.00405
"""
AFLOW = """O2Ti/A2B_tP6_136_f_a.AB params=4.594,0.644,0.305 SG=136 [ANRL]
1.000000
   4.594 0 0
   0 4.594 0
   0 0 2.959
4 2
Direct(6) [A4B2]
0.305 0.305 0.0 O
0.695 0.695 0.0 O
0.195 0.805 0.5 O
0.805 0.195 0.5 O
0 0 0 Ti
0.5 0.5 0.5 Ti
"""
VASP_4 = """O Ti
-62.45
   4.594 0 0
   0 4.594 0
   0 0 2.959
4 2
Selective dynamics
Direct
0.305 0.305 0.0 T T T
0.695 0.695 0.0 T T F
0.195 0.805 0.5 T T T
0.805 0.195 0.5 T T T
0 0 0 F F F
0.5 0.5 0.5 F F F

0.0 0.0 0.0
0.0 0.0 0.0
"""
OVITO = """6
Lattice="4.594 0 0 0 4.594 0 0 0 2.959" Origin="0 0 0" Properties=id:I:1:species:S:1:pos:R:3 Timestep=0
1 O 1.40117 1.40117 0
2 O 3.19283 3.19283 0
3 O 0.89583 3.69817 1.4795
4 O 3.69817 0.89583 1.4795
5 Ti 0 0 0
6 Ti 2.297 2.297 1.4795
"""


def charged() -> Structure:
    structure = RUTILE.copy()
    structure.add_oxidation_state_by_element({"Ti": 4, "O": -2})
    return structure


def ase_crystal() -> ase.Atoms:
    cell = [4.594, 4.594, 2.959, 90, 90, 90]
    return ase.spacegroup.crystal(["Ti", "O"], SITES, spacegroup=136, cellpar=cell)


def ase_writes(**options: object) -> Callable[[Path], object]:
    return lambda path: ase.io.write(path, RUTILE.to_ase_atoms(), **options)


WRITERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "VESTA": ("a.cif", lambda path: path.write_text(VESTA)),
    "Materials Studio": ("a.cif", lambda path: path.write_text(MATERIALS_STUDIO)),
    "ICSD": ("a.cif", lambda path: path.write_text(ICSD)),
    "COD": ("a.cif", lambda path: path.write_text(COD)),
    "COD, of Windows": ("a.cif", lambda path: path.write_bytes(COD.replace("\n", "\r\n").encode("latin-1"))),
    "pymatgen, P1": ("a.cif", lambda path: CifWriter(RUTILE).write_file(path)),
    "pymatgen, symmetry": ("a.cif", lambda path: CifWriter(RUTILE, symprec=0.01).write_file(path)),
    "pymatgen, charges": ("a.cif", lambda path: CifWriter(charged(), symprec=0.01).write_file(path)),
    "pymatgen, JSON": ("a.json", lambda path: charged().to(filename=str(path))),
    "pymatgen, POSCAR": ("POSCAR", lambda path: Poscar(RUTILE).write_file(path)),
    "pymatgen, selective dynamics": (
        "a.vasp",
        lambda path: Poscar(RUTILE, selective_dynamics=[[True, True, False]] * 6).write_file(path),
    ),
    "ASE, CIF": ("a.cif", ase_writes()),
    "ASE, CIF of a space group": ("a.cif", lambda path: ase.io.write(path, ase_crystal())),
    "ASE, POSCAR": ("a.vasp", ase_writes()),
    "ASE, sorted POSCAR": ("a.vasp", ase_writes(direct=True, sort=True)),
    "ASE, extended XYZ": ("a.extxyz", ase_writes()),
    "ASE, JSON": ("a.json", ase_writes()),
    "OVITO": ("a.xyz", lambda path: path.write_text(OVITO)),
    "VASP 4": ("a.vasp", lambda path: path.write_text(VASP_4)),
    "AFLOW": ("a.vasp", lambda path: path.write_text(AFLOW)),
    "phonopy, supercell": ("SPOSCAR", lambda path: Poscar(RUTILE).write_file(path)),
    "phonopy, displacement": ("POSCAR-001", lambda path: Poscar(RUTILE).write_file(path)),
    "VASP, relaxed": ("CONTCAR.relax", lambda path: Poscar(RUTILE).write_file(path)),
    "a name before": ("TiO2_POSCAR", lambda path: Poscar(RUTILE).write_file(path)),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_rutile_of_every_writer(writer: str, tmp_path: Path) -> None:
    name, write = WRITERS[writer]
    write(tmp_path / name)
    (entry,) = read_structure_files([tmp_path])  # found in a folder, too
    assert entry.code == "", entry.message
    assert entry.structure.composition == RUTILE.composition
    assert SAME.fit(entry.structure, RUTILE)
    assert entry.notes == ()
