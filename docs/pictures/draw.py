"""Draw the two pictures of the README as SVG files, from data in this folder and with the standard library alone.

    python docs/pictures/draw.py

`proof.svg`: one dot a formula of `proof.csv`, across the probability R/Z it should have, up the one it has.
`flow.svg`: how data flows through the three packages while a sampler is trained.
"""

import csv
import math
from pathlib import Path

HERE = Path(__file__).parent
FONT = 'font-family="Helvetica, Arial, sans-serif"'
INK, GREY, LIGHT = "#1c2733", "#6b7785", "#eef2f6"
PANELS = (
    ("gflownet", "GFlowNet", "#2f5d8a"),
    ("policy_gradient", "policy gradient", "#2ca089"),
    ("without_log_p_b", "policy gradient without log P_B", "#d55e00"),
)
SIDE, LEFT, TOP, GAP = 250, 70, 42, 28
LOW, HIGH = -9, -1  # decades of probability on both axes
HOUSES = (
    ("oreflow.envs", "what may be built", ("space", "kernel: states, masks, steps", "objects: formulas, crystals")),
    ("oreflow.rewards", "what is worth building", ("terms: energy, novelty, yours", "shapes", "log R, validity")),
    ("oreflow.agent", "how to search", ("policy, objective", "trained sampler", "exact check against R/Z")),
)


def text(
    x: float, y: float, words: str, size: int = 12, colour: str = INK, anchor: str = "middle", more: str = ""
) -> str:
    """One line of text."""
    look = f'{FONT} font-size="{size}" fill="{colour}" text-anchor="{anchor}"{more}'
    return f'<text x="{x:g}" y="{y:g}" {look}>{words}</text>'


def svg(width: float, height: float, parts: list[str], title: str) -> str:
    """A whole picture on white, so that it reads on dark pages too."""
    size = f'width="{width:g}" height="{height:g}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width:g} {height:g}">'
    ground = f'<title>{title}</title><rect {size} fill="white"/>'
    return "\n".join([head, ground, *parts, "</svg>"]) + "\n"


def place(value: float) -> float:
    """Distance of a probability from the left or the lower end of an axis, in pixels."""
    return (min(max(math.log10(value), LOW), HIGH) - LOW) / (HIGH - LOW) * SIDE


def total_variation(rows: list[dict[str, str]], name: str) -> float:
    """Half the L1 distance of a column from the target: the share of draws that goes to the wrong formulas."""
    return 0.5 * sum(abs(float(row[name]) - float(row["target"])) for row in rows)


def proof() -> str:
    """The proof: target against learned probability of every formula, three samplers side by side."""
    with (HERE / "proof.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    parts = []
    for number, (name, title, colour) in enumerate(PANELS):
        x0, y0 = LEFT + number * (SIDE + GAP), TOP + SIDE
        parts.append(text(x0 + SIDE / 2, 18, title, 13, more=' font-weight="bold"'))
        parts.append(text(x0 + SIDE / 2, 34, f"{total_variation(rows, name):.2%} of draws misplaced", 11, GREY))
        parts.append(f'<rect x="{x0}" y="{TOP}" width="{SIDE}" height="{SIDE}" fill="none" stroke="{GREY}"/>')
        parts.append(f'<path d="M{x0} {y0}l{SIDE} -{SIDE}" stroke="{INK}" stroke-width="0.8"/>')
        parts.append(f'<g fill="{colour}" fill-opacity="0.55">')
        for row in rows:
            x, y = x0 + place(float(row["target"])), y0 - place(float(row[name]))
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.8"/>')
        parts.append("</g>")
        for decade in range(LOW, HIGH + 1, 2):
            at = (decade - LOW) / (HIGH - LOW) * SIDE
            parts.append(text(x0 + at, y0 + 16, f"1e{decade}", 10, GREY))
            if number == 0:
                parts.append(text(x0 - 6, y0 - at + 4, f"1e{decade}", 10, GREY, "end"))
        parts.append(text(x0 + SIDE / 2, y0 + 34, "probability asked for, R/Z", 11))
    middle = TOP + SIDE / 2
    turned = f' transform="rotate(-90 18 {middle:g})"'
    parts.append(text(18, middle, "probability of the trained sampler", 11, more=turned))
    return svg(LEFT + 3 * SIDE + 2 * GAP + 14, TOP + SIDE + 46, parts, "Exact probability of each formula against R/Z")


def flow() -> str:
    """The flow: three packages, what each holds, and what passes between them."""
    width, gap, top, high = 236, 64, 46, 132
    parts = [
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{INK}"/></marker></defs>'
    ]
    arrow = f'stroke="{INK}" fill="none" marker-end="url(#tip)"'
    for number, (name, task, lines) in enumerate(HOUSES):
        x = 16 + number * (width + gap)
        parts.append(f'<rect x="{x}" y="{top}" width="{width}" height="{high}" rx="8" fill="{LIGHT}" stroke="{GREY}"/>')
        parts.append(text(x + width / 2, top + 24, name, 14, more=' font-weight="bold"'))
        parts.append(text(x + width / 2, top + 43, task, 12, GREY))
        parts += [text(x + width / 2, top + 70 + 20 * k, line, 12) for k, line in enumerate(lines)]
        if number < 2:
            parts.append(f'<path d="M{x + width} {top + 76}h{gap - 2}" {arrow}/>')
            parts.append(text(x + width + gap / 2, top + 66, ("objects", "log R")[number], 11))
    first, last = 16 + width / 2, 16 + 2 * (width + gap) + width / 2
    parts.append(f'<path d="M{last} {top}V18H{first}V{top - 2}" {arrow}/>')
    parts.append(text((first + last) / 2, 12, "actions, chosen among those that the mask allows", 11))
    low = top + high
    parts.append(f'<path d="M{last} {low}v26" {arrow}/>')
    parts.append(text(last, low + 42, "candidates.csv, structures, summary", 12))
    parts.append(text(first, low + 42, "config.yaml, --plugin my_file.py", 12))
    parts.append(f'<path d="M{first} {low + 28}v-26" {arrow}/>')
    return svg(2 * 16 + 3 * width + 2 * gap, low + 56, parts, "How data flows through oreflow")


def main() -> None:
    for name, picture in (("proof", proof()), ("flow", flow())):
        (HERE / f"{name}.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
