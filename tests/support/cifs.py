"""CIFs that tests mutate, and known crystals."""

HEADER = """data_{name}
_cell_length_a {a}
_cell_length_b {b}
_cell_length_c {c}
_cell_angle_alpha {alpha}
_cell_angle_beta {beta}
_cell_angle_gamma {gamma}
{symmetry}
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
"""
ROCK_SALT_SITES = "Na1 Na1+ 0 0 0 1\nCl1 Cl1- 0.5 0.5 0.5 1\n"
ROCK_SALT_SYMMETRY = "_symmetry_space_group_name_H-M 'F m -3 m'\n_symmetry_Int_Tables_number 225"


def cif(sites: str = ROCK_SALT_SITES, symmetry: str = ROCK_SALT_SYMMETRY, name: str = "NaCl", **cell: object) -> str:
    """Rock salt, unless told otherwise."""
    values = {"a": "5.6402(3)", "b": "5.6402(3)", "c": "5.6402(3)", "alpha": 90, "beta": 90, "gamma": 90} | cell
    return HEADER.format(name=name, symmetry=symmetry, **values) + sites


ROCK_SALT = cif()
