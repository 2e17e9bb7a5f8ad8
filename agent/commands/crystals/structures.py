"""`encode` and `export`: between structure files and tables of crystals."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from oreflow.agent.commands.common import BAD_INPUT, DONE, AsJson, Overwrite, Quiet, may_write, print_json, verb


@verb
def encode(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="CIF, POSCAR, XYZ, JSON or CSV files, also packed (.gz, .bz2, .xz, .zip), or folders.",
            metavar="FILE_OR_DIR...",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="CSV or Parquet to write; NAME_errors.csv goes beside it.")],
    symprec: Annotated[
        float, typer.Option("--symprec", min=1e-6, max=1.0, help="Angstrom within which atoms count as symmetric.")
    ] = 0.01,
    max_atoms: Annotated[int, typer.Option("--max-atoms", min=1, help="Refuse cells with more atoms.")] = 1000,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Structure files to a table: space group, Wyckoff positions, lattice, coordinates.

    An entry that cannot be read or encoded costs only itself: NAME_errors.csv beside NAME.csv says which and why. The
    exit code is 2 only when there is nothing else.

    Example: oreflow encode cifs/ --out crystals.csv
    """
    from oreflow.agent.runtime.progress import Progress
    from oreflow.agent.tables.formulas import write_csv, write_parquet
    from oreflow.agent.tables.structures import encode_files
    from oreflow.envs.structure_io.reading.files import structure_paths

    if out.suffix not in (".csv", ".parquet"):
        raise ValueError(f"expected --out to end in .csv or .parquet, got {out}")
    errors_path = out.with_name(f"{out.stem}_errors.csv")
    may_write(out, overwrite)
    if not _is_list_of_errors(errors_path):
        may_write(errors_path, overwrite)
    files = [file for path in paths for file in structure_paths(path)]
    if not files:
        raise ValueError(f"expected structure files, found none in {', '.join(map(str, paths))}")
    with Progress("encode", len(files), quiet=quiet) as progress:
        frame, errors = encode_files(
            files,
            symprec,
            max_atoms,
            lambda done, encoded, refused: progress.update(done, encoded=encoded, refused=refused),
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_csv(errors, errors_path)
    codes = errors["code"].value_counts().to_dict()
    if len(frame):
        (write_csv if out.suffix == ".csv" else write_parquet)(frame, out)
    if as_json:
        print_json(
            {
                "n_files": len(files),
                "n_encoded": len(frame),
                "n_refused": len(errors),
                "refused_by_code": codes,
                "out": str(out) if len(frame) else None,
                "errors": str(errors_path),
            }
        )
    elif not quiet and len(frame):
        print(f"{len(frame)} structures of {len(files)} files: {out}")
    if len(errors):
        counted = ", ".join(f"{n} {code}" for code, n in codes.items())
        first = errors.iloc[0]
        print(f"oreflow: {len(errors)} refused ({counted}), see {errors_path}", file=sys.stderr)
        print(f"oreflow: {first['file']}: {first['message']}", file=sys.stderr)
    return DONE if len(frame) else BAD_INPUT


@verb
def export(
    candidates: Annotated[Path, typer.Argument(help="CSV or Parquet with a column `structure`.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.")],
    format_: Annotated[str, typer.Option("--format", help="cif, extxyz or poscar.")] = "cif",
    n: Annotated[int | None, typer.Option("-n", min=1, help="Only the first rows; all by default.")] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """The crystals of a table as files: CIF with symmetry, extended XYZ, or POSCAR.

    A row that holds no crystal costs only itself.

    Example: oreflow export crystals.csv --out cifs --format cif
    """
    from oreflow.agent.tables.formulas import read_table
    from oreflow.agent.tables.structures import export as write_files

    summary = write_files(read_table(candidates), str(candidates), out, format_, n, overwrite)
    if as_json:
        print_json({**summary, "out": str(out)})
    elif not quiet:
        print(f"{summary['n_crystals']} crystals in {summary['n_files']} files: {out}")
    if summary["n_without_geometry"]:
        print(
            f"oreflow: {summary['n_without_geometry']} rows without lattice and coordinates left out", file=sys.stderr
        )
    if summary["bad_rows"]:
        n_bad = len(summary["bad_rows"])
        print(f"oreflow: {n_bad} rows hold no crystal, the first: {summary['bad_rows'][0]}", file=sys.stderr)
    return DONE


def _is_list_of_errors(path: Path) -> bool:
    """Whether a file is what `encode` writes of entries that it refused."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline().strip() == "file,block,code,message"
    except (OSError, ValueError):
        return False
