"""The README's picture: what `make demo` found, as one SVG.

    make demo && python benchmarks/demo_picture.py runs/demo

Keeps what it draws in results/demo.json; without a run folder it draws that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "demo.json"
PICTURE = HERE.parent / "docs" / "img" / "demo.svg"
ARMS = {"selected": "selected", "random-per-class": "random per class", "full": "full pool"}
JUDGES = {"knn": "kNN", "few_labels": "10 labels a class", "linear": "linear, all labels"}
LABEL, PANEL, GAP, ROW, TOP, BOTTOM = 130, 180, 26, 26, 30, 56
STYLE = (
    "text{font:13px sans-serif;fill:#444}.t{font-weight:bold}.s{font-size:12px}.g{stroke:#ddd}"
    ".i{stroke:#777;stroke-width:2}.p{fill:#777}.selected.i{stroke:#0b7a75}.selected.p{fill:#0b7a75}"
    "@media(prefers-color-scheme:dark){text{fill:#ccc}.g{stroke:#444}.i{stroke:#999}.p{fill:#999}"
    ".selected.i{stroke:#4cc9c0}.selected.p{fill:#4cc9c0}}"
)


def drawn(found: Mapping[str, Any]) -> str:
    """A panel a judge, a row an arm: mean accuracy, its 95 % interval, and the gain over random.

    Args:
        found: `results/demo.json`.
    """
    width = LABEL + len(JUDGES) * (PANEL + GAP)
    height = TOP + ROW * len(found["arms"]) + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img"><style>{STYLE}</style>'
    ]
    for row, arm in enumerate(found["arms"]):
        y = TOP + ROW * (row + 0.5) + 4
        parts.append(f'<text x="{LABEL - 12}" y="{y:g}" text-anchor="end">{ARMS[arm]}</text>')
    for place, judge in enumerate(JUDGES):
        parts += _panel(found, judge, LABEL + place * (PANEL + GAP))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(found: Mapping[str, Any], judge: str, left: int) -> list[str]:
    rows = {arm: [100 * end for end in ends[judge]] for arm, ends in found["arms"].items()}
    low, high = min(one[1] for one in rows.values()), max(one[2] for one in rows.values())
    room = 0.08 * (high - low)
    low, high = low - room, high + room

    def x(value: float) -> float:
        return left + PANEL * (value - low) / (high - low)

    floor = TOP + ROW * len(rows)
    middle = left + PANEL / 2
    parts = [_text(middle, 18, JUDGES[judge], "t")]
    for tick in _ticks(low, high):
        parts.append(f'<path class="g" d="M{x(tick):.1f} {TOP}V{floor}"/>')
        parts.append(_text(x(tick), floor + 16, f"{tick:g} %", "s"))
    for row, (arm, (mean, least, most)) in enumerate(rows.items()):
        y = TOP + ROW * (row + 0.5)
        parts.append(f'<path class="{arm} i" d="M{x(least):.1f} {y:g}H{x(most):.1f}"/>')
        parts.append(f'<circle class="{arm} p" cx="{x(mean):.1f}" cy="{y:g}" r="4.5"/>')
    mean, least, most = (100 * end for end in found["gain"][judge])
    said = f"gain {mean:+.1f} [{least:+.1f}, {most:+.1f}]"
    return [*parts, _text(middle, floor + 40, said, "s")]


def _text(x: float, y: float, words: str, style: str) -> str:
    return (
        f'<text class="{style}" x="{x:.1f}" y="{y:g}" text-anchor="middle">{escape(words)}</text>'
    )


def _ticks(low: float, high: float) -> Sequence[float]:
    """Three or fewer round places."""
    step = next(step for step in (1, 2, 5, 10, 20, 50) if (high - low) / step <= 3)
    first = int(low // step) + 1
    return [step * place for place in range(first, int(high // step) + 1)]


def kept(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Of a run's evaluation.json what is drawn: mean and ends, as shares."""

    def ends(one: Mapping[str, Any]) -> list[float]:
        return [round(one[name], 5) for name in ("mean", "low", "high")]

    rows = {row["subset"]: row for row in summary["table"]}
    return {
        "command": "contrasift run --recipe demo",
        "match": summary["match"],
        "seeds": len(rows["selected"]["seeds"]),
        "examples": {arm: rows[arm]["examples"] for arm in ARMS},
        "arms": {arm: {judge: ends(rows[arm][judge]) for judge in JUDGES} for arm in ARMS},
        "gain": {
            judge: ends(summary["selected_minus"]["random-per-class"][judge]) for judge in JUDGES
        },
    }


def main() -> None:
    """Keep and draw."""
    if len(sys.argv) > 1:
        summary = json.loads((Path(sys.argv[1]) / "evaluation.json").read_text(encoding="utf-8"))
        RESULTS.write_text(json.dumps(kept(summary), indent=1) + "\n", encoding="utf-8")
    PICTURE.write_text(drawn(json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
