"""Shipped crystal energy model: speed by batch size, and, with its tables, its errors beside composition models.

    python -m benchmarks.rewards.bench_crystal_energy [--model crystal_energy_v1] [--threads 2] [--rounds 5]
    python -m benchmarks.rewards.bench_crystal_energy --data structures.csv.gz --compositions compositions.csv.gz \
        [--baseline all|structures|none] [--minutes 30]

Speed: decorations with one to four occupied positions of random space groups, as a search proposes them.

Errors: the tables are read and split as the fit reads and splits them, and the stored weights predict the crystals of
the two test parts, of which no reduced formula was fitted. Beside them, on the same crystals, composition models of the
shipped architecture and recipe (4 members, 48 passes), fitted here without the formulas held out, with the same
validation crystals for early stopping:

    all: the table of compositions, corrected to the convention of the structures, and the lowest structure of each
        training formula
    structures: the training structures alone, all of them
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.rewards.models.composition.inputs import composition_features, element_index, encode, prototypes_of
from oreflow.rewards.models.crystal.model import DEFAULT_CRYSTAL_MODEL, CrystalEnergyModel
from oreflow.rewards.models.crystal.site_tables import site_tables
from oreflow.rewards.models.crystal.training_tables import TrainingTables, training_tables


def random_decorations(n: int, elements: tuple[int, ...], seed: int, most_atoms: int = 20) -> Crystals:
    """Decorations with one to four positions of random groups, at most so many atoms in a primitive cell."""
    rng = np.random.default_rng(seed)
    atoms = site_tables().atoms
    groups, counts, letters, numbers = [], [], [], []
    while len(groups) < n:
        group = int(rng.integers(1, 231))
        usable = np.flatnonzero((atoms[group] > 0) & (atoms[group] <= most_atoms))
        if not len(usable):
            continue
        chosen = rng.choice(usable, size=rng.integers(1, 5))
        if atoms[group, chosen].sum() > most_atoms:
            continue
        groups.append(group)
        counts.append(len(chosen))
        letters += chosen.tolist()
        numbers += rng.choice(elements, size=len(chosen)).tolist()
    offsets = np.concatenate([[0], np.cumsum(counts)])
    nothing = (np.full((n, 6), np.nan), np.full((offsets[-1], 3), np.nan))
    return Crystals(np.array(groups), offsets, np.array(letters), np.array(numbers), *nothing)


def speed(model: CrystalEnergyModel, rounds: int) -> None:
    pool = random_decorations(16_384, model.elements, seed=0)
    print(f"{np.diff(pool.site_offsets).mean():.2f} sites a crystal")
    for n in (1, 32, 256, 1024, 16_384):
        seconds = []
        for _ in range(rounds + 1):
            batch = pool[:n]  # a new object each time: nothing that the last round computed is kept
            start = time.perf_counter()
            model.predict(batch)
            seconds.append(time.perf_counter() - start)
        median, best = statistics.median(seconds[1:]), min(seconds[1:])
        print(f"batch {n:6d}: median {n / median:10,.0f}, best {n / best:10,.0f} crystals/s")


def composition_error(
    tables: TrainingTables, compositions: Compositions, values: np.ndarray, rows: np.ndarray, minutes: float
) -> float:
    """MAE, eV/atom, on crystals `rows` of a composition model fitted to given energies."""
    from oreflow.rewards.models.composition.network import Architecture, forward, initial_parameters, pack
    from oreflow.rewards.models.ensemble.training import FitSettings, FittedRows, Network, fit_parameters

    def run(event: dict) -> None:
        if event["done"] % 4 == 0:
            print(f"  epoch {event['done']}, validation MAE {event['validation_mae']:.4f}, {event['elapsed_s']:.0f} s")

    table = tables.crystals
    parts = [compositions, table.compositions[tables.split.validation], table.compositions[rows]]
    ends = np.cumsum([len(part) for part in parts])
    everything = Compositions.concatenate(parts)
    energies = np.concatenate([values, table.values[tables.split.validation], table.values[rows]])
    features = composition_features(compositions)
    norms = (features.mean(axis=0).astype(np.float32), np.maximum(features.std(axis=0), 1e-9).astype(np.float32))
    elements = tuple(z for z in np.unique(everything.atomic_numbers).tolist() if z)
    prototypes = prototypes_of(compositions, at_least=20)
    order = np.argsort(-everything.n_elements, kind="stable")
    place = np.argsort(order)
    encoded = encode(everything[order], element_index(elements), *norms, prototypes)
    a = Architecture(
        n_members=4,
        n_elements=len(elements),
        n_features=features.shape[1],
        n_ordered_prototypes=len(prototypes.ordered) + 1,
        n_anonymous_prototypes=len(prototypes.anonymous) + 1,
    )
    mean, std = float(values.mean()), float(values.std())
    network = Network(
        initial=lambda seed: initial_parameters(a, seed),
        forward=lambda parameters, batch, dropout: forward(parameters, batch, a, dropout),
        encode=lambda chosen: pack(encoded[chosen], a.n_elements),
    )
    train, validation = np.sort(place[: ends[0]]), np.sort(place[ends[0] : ends[1]])
    rows_to_fit = FittedRows(energies[order], mean, std, train, validation)
    seed = np.random.SeedSequence(0)
    fitted, record = fit_parameters(network, rows_to_fit, FitSettings(), seed=seed, max_minutes=minutes, progress=run)
    import torch

    test = np.sort(place[ends[1] :])
    with torch.inference_mode():
        chunks = [
            forward(fitted, pack(encoded[test[k : k + 1024]], a.n_elements), a)[0] for k in range(0, len(test), 1024)
        ]
    predicted = mean + std * torch.cat(chunks, dim=1).mean(dim=0).numpy()
    print(f"  {record['epochs_run']} epochs, the best {record['best_epoch']}, in {record['fit_seconds']:.0f} s")
    return float(np.abs(predicted - energies[order][test]).mean())


def lowest_of_formulas(tables: TrainingTables) -> tuple[Compositions, np.ndarray]:
    """Corrected energies of the table of compositions, replaced by the lowest training structure where there is one."""
    table, train = tables.crystals, tables.split.train
    energy: dict[bytes, float] = {}
    row_of: dict[bytes, int] = {}
    joined = Compositions.concatenate([table.compositions[train], tables.compositions])
    keys, n = joined.key_bytes(), len(train)
    for row, key in enumerate(keys):
        value = float(table.values[train[row]] if row < n else tables.energies[row - n])
        if row < n:
            energy[key] = min(energy.get(key, np.inf), value)
        row_of.setdefault(key, row)
        energy.setdefault(key, value)
    return joined[np.array(list(row_of.values()))], np.array([energy[key] for key in row_of])


def errors(model: CrystalEnergyModel, data: Path, compositions: Path, baselines: list[str], minutes: float) -> None:
    seed_split = np.random.SeedSequence(int(model.card["fit"]["seed"])).spawn(1)[0]
    tables = training_tables(data, compositions, model.target_name, seed_split)
    table, split = tables.crystals, tables.split
    if table.report["sha256"] != model.card["data"]["sha256"]:
        print(f"{data} is not the table the model was fitted on: some of its rows may have been fitted")
    unseen = np.sort(np.concatenate([split.test, split.test_chemsys]))
    prediction = model.predict(table.crystals[unseen])
    rows = unseen[prediction.in_scope]
    error = np.abs(prediction.mean - table.values[unseen])
    ours = float(error[prediction.in_scope].mean())
    for name, part in (("random formulas", split.test), ("new chemical systems", split.test_chemsys), ("both", unseen)):
        here = np.isin(unseen, part) & prediction.in_scope
        print(f"{model.directory.name} {name:22s} MAE {error[here].mean():.4f} eV/atom ({here.sum()} crystals)")
    if "all" in baselines:
        theirs = composition_error(tables, *lowest_of_formulas(tables), rows, minutes)
        print(f"composition model, all training formulas: MAE {theirs:.4f} eV/atom; ratio {ours / theirs:.3f}")
    if "structures" in baselines:
        trained = table.compositions[split.train]
        theirs = composition_error(tables, trained, table.values[split.train], rows, minutes)
        print(f"composition model, training structures alone: MAE {theirs:.4f} eV/atom; ratio {ours / theirs:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_CRYSTAL_MODEL)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, help="table of structures that the model was fitted on: errors, not speed")
    parser.add_argument("--compositions", type=Path, help="table of compositions that was fitted beside it")
    parser.add_argument("--baseline", nargs="+", default=["all", "structures"], choices=["all", "structures", "none"])
    parser.add_argument("--minutes", type=float, default=60.0, help="most for each composition model's fit")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    model = CrystalEnergyModel.load(arguments.model)
    print(f"{arguments.model}: {model.card['n_parameters']:,} parameters, {arguments.threads} threads")
    if arguments.data is None:
        speed(model, arguments.rounds)
    else:
        errors(model, arguments.data, arguments.compositions, arguments.baseline, arguments.minutes)


if __name__ == "__main__":
    main()
