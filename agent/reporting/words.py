"""What was asked for and where it came from, in words and lines."""

import shlex
from typing import Any

from oreflow.agent.evaluation.satisfaction import wish_in_words
from oreflow.agent.reporting.sources import Source
from oreflow.agent.training.target_words import target_in_words

_MOST_LISTED = 24


def asked(source: Source) -> list[tuple[str, list[str]]]:
    """What was asked of a source, as headings with their lines; empty for a table that nothing is known of."""
    lines: list[tuple[str, list[str]]] = []
    config = source.config
    target = source.summary.get("target") or (None if config is None else target_in_words(config, None))
    if config is not None and config.purpose:
        lines.append(("Purpose", [config.purpose]))
    if target:
        lines.append(("Sampled", [str(target)]))
    if "condition" in source.summary:
        lines.append(("Under", [_plain(source.summary["condition"])]))
    terms = [
        f"{t.name.replace('_', ' ')}: {wish_in_words(t.shape, t.unit)} ({_shape(t.shape)})"
        for t in source.terms
        if t.shape
    ]
    if terms:
        lines.append(("Wanted", terms))
    elif source.terms:
        lines.append(("Judged by", [t.title for t in source.terms]))
    if config is not None:
        lines.append(("World", [_world(config.world.model_dump(mode="json"), config.world.kind)]))
    return lines


def _shape(shape: Any) -> str:
    """A shape and its parameters, such as "below, threshold -1, width 0.1"."""
    return ", ".join([shape["kind"], *(f"{key} {value:g}" for key, value in shape.items() if key != "kind")])


def _world(fields: dict[str, Any], kind: str) -> str:
    parts = [
        f"{name.replace('_', ' ')} {_plain(value)}"
        for name, value in fields.items()
        if name != "kind" and value not in (None, False, [], {})
    ]
    return "; ".join([kind, *parts])


def _plain(value: Any) -> str:
    """Nested plain data as a reader would write it: ranges and lists by spaces, long lists cut."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(part)}" for key, part in list(value.items())[:_MOST_LISTED])
    if isinstance(value, list):
        if len(value) == 2 and all(isinstance(part, int | float) for part in value):
            return f"{value[0]:g} to {value[1]:g}"
        listed = [f"[{_plain(part)}]" if isinstance(part, list) else _plain(part) for part in value[:_MOST_LISTED]]
        return " ".join(listed) + (f" … ({len(value)} in all)" if len(value) > _MOST_LISTED else "")
    return f"{value:g}" if isinstance(value, float) else str(value)


def provenance(source: Source) -> list[tuple[str, str]]:
    """Where candidates come from: files, commands, versions, seeds."""
    record, summary = source.provenance, source.summary
    lines = [("table", str(source.table_path)), ("rows in it", f"{source.n_rows:,}")]
    if source.run is not None:
        lines.append(("run", str(source.run.path)))
    if isinstance(record.get("command"), list):
        lines.append(("trained by", shlex.join(map(str, record["command"]))))
    for key, title in (
        ("created", "trained at"),
        ("git_commit", "commit"),
        ("platform", "machine"),
        ("python", "Python"),
    ):
        if record.get(key):
            lines.append((title, str(record[key])))
    if isinstance(record.get("versions"), dict):
        lines.append(("versions", ", ".join(f"{name} {version}" for name, version in record["versions"].items())))
    for key in ("step", "seed", "n_draws", "energy_model", "neutrality_rule"):
        if summary.get(key) is not None:
            lines.append((key.replace("n_", "").replace("_", " "), str(summary[key])))
    reward = summary.get("reward") or {}
    versions = ", ".join(f"{term['name']} {term['version']}" for term in reward.get("terms", []))
    if versions:
        lines.append(("terms", versions))
    return lines
