"""Reading structure files: formats, CIF and its symmetry, and what is wrong with a file."""
