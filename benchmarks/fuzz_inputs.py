"""Odd pools, labels, ids, text files, links, encodings and modules, each held against an oracle.

A case is its number. What it must come to is reckoned here, with nothing of the library in it: a
value, or a refusal. Outcomes: `right`, `refused` (as it must be), `wrong` (another value, a refusal
of what is fine, or a value where only a refusal is right) and `traceback`.

    python benchmarks/fuzz_inputs.py --cases 10000      # goes on where it was stopped
    python benchmarks/fuzz_inputs.py --only 4711        # one case again, in words
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from contrasift.errors import ContrasiftError

RESULT = Path(__file__).parent / "results" / "fuzz-inputs.json"
_AN_INTEGER = re.compile(r"(0|-?[1-9][0-9]*)\Z")
_PIECES = ["0", "1", "01", "-1", "-0", "+1", "1_0", "10", "1.0", " 1", "1 ", "٣", "é", "e\u0301"]
_PIECES += [
    "\u200b",
    "\ufeff",
    "\u2028",
    "\x0b",
    "\x85",
    "\xa0",
    "a",
    "cat",
    "Cat",
    "[/]",
    '"',
    "%",
]
_PIECES += ["9223372036854775807", "9223372036854775808", "-9223372036854775808", "nan", "None"]
_CODINGS = ["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"]
_ENDS = ["\n", "\r\n", "\r"]


class Refusal:
    """What must be refused."""

    def __repr__(self) -> str:
        return "a refusal"


REFUSAL = Refusal()
Case = tuple[Callable[[], Any], Any]


def is_canonical(name: str) -> bool:
    """Whether a name is the one way of writing a number that 64 bits hold."""
    return bool(_AN_INTEGER.match(name)) and -(2**63) <= int(name) < 2**63


def alike(values: list[Any]) -> list[int]:
    """Which values are the same, as the place of the first of them."""
    return [values.index(value) for value in values]


def some_names(rng: np.random.Generator) -> list[str]:
    """A few names out of few, so that some are the same and some nearly."""
    few = ["".join(rng.choice(_PIECES, size=rng.integers(1, 3))) for _ in range(rng.integers(1, 5))]
    if rng.random() < 0.3:
        few = [str(number) for number in rng.integers(-5, 5, size=3)]
    return [str(name) for name in rng.choice(few, size=rng.integers(2, 9))]


def names_of(door: Callable[[], Any], n: int) -> list[str]:
    """What the library calls the class of each row."""
    from contrasift.arrays import class_codes

    codes, names = class_codes(door(), n)
    return [str(name) for name in names[codes]]


def names_in_memory(rng: np.random.Generator) -> Case:
    names = some_names(rng)
    forms: list[Callable[[], Any]] = [
        lambda: names,
        lambda: tuple(names),
        lambda: np.array(names),
        lambda: np.array(names, dtype=object),
        lambda: pa.array(names),
        lambda: [name.encode() for name in names],
    ]
    form = forms[rng.integers(len(forms))]
    return lambda: names_of(form, len(names)), names


def numbers_in_memory(rng: np.random.Generator) -> Case:
    pool = [0, 1, -1, 7, 2**24, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64 - 1]
    values = [int(pool[i]) for i in rng.integers(0, len(pool), size=rng.integers(1, 6))]
    kind = str(rng.choice(["list", "int64", "uint64", "float64", "float32", "object", "mixed"]))
    if kind == "mixed":
        return lambda: names_of(lambda: [*values, "a"], len(values) + 1), REFUSAL
    if kind in ("list", "object"):
        made: Any = values if kind == "list" else np.array(values, dtype=object)
        fits = all(-(2**63) <= value < 2**63 for value in values)
    elif kind.startswith("float"):
        limit = 2 ** (53 if kind == "float64" else 24)
        made, fits = np.array(values, dtype=kind), all(abs(value) < limit for value in values)
    else:
        low, high = (0, 2**64) if kind == "uint64" else (-(2**63), 2**63)
        values = [value for value in values if low <= value < high] or [0]
        made, fits = np.array(values, dtype=kind), all(value < 2**63 for value in values)
    return lambda: names_of(lambda: made, len(values)), (
        [str(value) for value in values] if fits else REFUSAL
    )


def names_in_tables(rng: np.random.Generator) -> Case:
    from contrasift.store.inputs import load_classes_file

    names: list[str | None] = list(some_names(rng))
    index = rng.permutation(len(names))
    null = rng.random() < 0.2
    if null:
        names[int(rng.integers(len(names)))] = None
    column = pa.array(names)
    if rng.random() < 0.3:
        column = column.dictionary_encode()
    pq.write_table(pa.table({"index": index, "latent_class": column}), "c.parquet")
    wanted = [names[int(np.flatnonzero(index == row)[0])] for row in range(len(names))]
    rows = np.arange(len(names))

    def read() -> list[str]:
        return names_of(lambda: load_classes_file("c.parquet", rows), len(names))

    return read, REFUSAL if null else wanted


def write_lines(rng: np.random.Generator, lines: list[str], name: str) -> list[str] | Refusal:
    """Write lines in some coding; what a reader of UTF-8 must make of them, blanks cut off."""
    coding, end = str(rng.choice(_CODINGS)), str(rng.choice(_ENDS))
    text = end.join(line + str(rng.choice(["", "", " ", "\t"])) for line in lines)
    text += end * int(rng.integers(0, 4))
    try:
        data = text.encode(coding)
    except UnicodeEncodeError:
        coding, data = "utf-8", text.encode()
    Path(name).write_bytes(data)
    if coding.startswith(("utf-16", "utf-32")):
        return REFUSAL
    try:
        found = data.decode("utf-8")
    except UnicodeDecodeError:
        return REFUSAL
    found = found[1:] if found.startswith("\ufeff") else found
    made = [line.strip(" \t") for line in re.split("\r\n|\r|\n", found)]
    while made and not made[-1]:
        made.pop()
    return made


def names_in_lines(rng: np.random.Generator) -> Case:
    from contrasift.store.inputs import load_classes_file

    names = some_names(rng)
    if rng.random() < 0.1:
        names.insert(1, "")
    wanted = write_lines(rng, names, "c.txt")
    bad = isinstance(wanted, Refusal) or "" in wanted or not wanted
    n = 0 if isinstance(wanted, Refusal) else len(wanted)
    return lambda: names_of(lambda: load_classes_file("c.txt", np.arange(n)), n), (
        REFUSAL if bad else wanted
    )


def labels_of_pools(rng: np.random.Generator) -> Case:
    from contrasift.pools import open_pool

    names = some_names(rng)
    images = np.zeros((len(names), 8, 8), np.uint8)
    way = str(rng.choice(["argument", "lines", "npz"]))
    if way == "argument":
        wanted: Any = names
        source, labels = images, names
    elif way == "npz":
        np.savez("p.npz", images=images, labels=np.array(names))
        wanted, source, labels = names, "p.npz", "auto"
    else:
        wanted, source, labels = write_lines(rng, names, "l.txt"), images, "l.txt"
        if not isinstance(wanted, Refusal) and len(wanted) != len(names):
            wanted = REFUSAL  # a line end within a name, or one that was blank
    if not isinstance(wanted, Refusal):
        given = [name for name in wanted if name.strip()]
        numbers = bool(given) and all(is_canonical(name) for name in given)
        wanted = [
            "" if not name.strip() or (numbers and int(name) < 0) else name for name in wanted
        ]

    def read() -> list[str]:
        pool = open_pool(source, labels=labels, holdout=0)
        codes = [-1] * len(pool) if pool.labels is None else pool.labels.tolist()
        return [pool.label_names[code] if code >= 0 else "" for code in codes]

    return read, wanted


def lists_of_ids(rng: np.random.Generator) -> Case:
    from contrasift.store.inputs import load_indices_file

    odd = ["1_0", "٣", "+1", "01", "1.0", "x", "9" * 25, "", " 3"]
    lines = [str(number) for number in rng.integers(0, 99, size=rng.integers(1, 6))]
    if rng.random() < 0.4:
        lines[int(rng.integers(len(lines)))] = str(rng.choice(odd))
    wanted: Any = write_lines(rng, lines, "i.txt")
    if not isinstance(wanted, Refusal):
        filled = [line for line in wanted if line]
        fine = all(is_canonical(line) for line in filled)
        wanted = [int(line) for line in filled] if fine else REFUSAL
    return lambda: load_indices_file("i.txt").tolist(), wanted


def scores_by_id(rng: np.random.Generator) -> Case:
    from contrasift.store.scores import read_scores

    n = int(rng.integers(1, 8))
    index, listed = np.sort(rng.choice(99, size=n, replace=False)), rng.random(n).round(3)
    order = rng.permutation(n)
    ids = [str(number) for number in index[order]]
    fault = str(rng.choice(["none", "none", "none", "twice", "foreign", "missing", "word"]))
    if fault == "twice":
        ids.append(ids[0])
    elif fault == "foreign":
        ids[0] = "1000"
    elif fault == "missing":
        ids.pop()
    values = [str(number) for number in [*listed[order], 0.5]]
    if fault == "word":
        values[0] = "high"
    lines = ["index,s", *(f"{one},{other}" for one, other in zip(ids, values, strict=False))]
    coding = str(rng.choice(["utf-8", "utf-8-sig", "utf-16"]))
    Path("s.csv").write_bytes(str(rng.choice(_ENDS)).join(lines).encode(coding))
    bad = fault != "none" or coding == "utf-16"
    return lambda: read_scores("s.csv", index).tolist(), REFUSAL if bad else listed.tolist()


def weights_of_classes(rng: np.random.Generator) -> Case:
    import contrasift as cs
    from contrasift.store.inputs import load_weights_file

    names = sorted(set(some_names(rng)))
    given = str(rng.choice([*names, "01", "absent", "1"]))
    Path("w.json").write_text(json.dumps({given: 0}, ensure_ascii=bool(rng.integers(2))), "utf-8")
    rows = np.random.default_rng(0).normal(size=(6 * len(names) + 6, 3))
    classes = [names[row % len(names)] for row in range(len(rows))]

    def select() -> dict[str, bool]:
        chosen = cs.select(
            rows, classes, budget=len(names), class_weights=load_weights_file("w.json")
        )
        return {str(part.name): part.budget == 0 for part in chosen.classes}

    if given not in names:
        return select, REFUSAL
    # All of a budget go to the others, unless there are none.
    return select, {name: name == given and len(names) > 1 for name in names}


def folders_with_links(rng: np.random.Generator) -> Case:
    from contrasift.pools import open_pool, scan_pool

    home = Path("pool")
    home.mkdir()
    grey: dict[str, int] = {}
    for number in range(int(rng.integers(2, 6))):
        folder = home / str(rng.choice([".", "a", "b é"]))
        folder.mkdir(exist_ok=True)
        name = f"{number}{rng.choice(['.png', '.PNG', '.bmp', '.tiff'])}"
        value = int(rng.integers(256))
        Image.fromarray(np.full((16, 16), value, np.uint8)).save(folder / name)
        grey[(folder / name).relative_to(home).as_posix()] = value
    first = next(iter(grey))
    links = {
        "to itself": lambda: (home / "l.png").symlink_to("l.png"),
        "to nothing": lambda: (home / "l.png").symlink_to("absent.png"),
        "through a file": lambda: (home / "l.png").symlink_to(f"{first}/x.png"),
        "too long": lambda: (home / "l.png").symlink_to("x" * 300),
        "to the folder above": lambda: (home / "up").symlink_to(".."),
        "text": lambda: (home / "notes.txt").write_text("no image"),
        "without": lambda: None,
    }
    links[str(rng.choice(list(links)))]()

    def read() -> dict[str, int]:
        pool = open_pool(home, holdout=0)
        examples = scan_pool(pool)
        return {
            examples.id[place]: int(np.median(pool.read(int(place))))
            for place in examples.positions
        }

    return read, grey


def arrays_as_pools(rng: np.random.Generator) -> Case:
    from contrasift.pools import open_pool

    n, channels = int(rng.integers(2, 6)), int(rng.choice([1, 3]))
    pixels = rng.integers(0, 256, (n, 8, 8, channels)).astype(np.uint8)
    kind = str(rng.choice(["uint8", "float", "signed", "large", "nan", "int32"]))
    made: Any = {
        "uint8": pixels,
        "float": pixels / np.float32(255),
        "signed": pixels / np.float32(127.5) - 1,
        "large": pixels.astype(np.float32),
        "nan": np.where(pixels == pixels.flat[0], np.nan, pixels / 255),
        "int32": pixels.astype(np.int32),
    }[kind]
    if rng.random() < 0.5 and channels == 3:
        made = np.moveaxis(made, 3, 1)
    np.save("p.npy", made)
    source = str(rng.choice(["array", "file"]))
    outside = made.dtype.kind == "f" and not (np.nanmin(made) >= 0 and np.nanmax(made) <= 1)
    bad = kind in ("nan", "int32") or outside

    def read() -> list[int]:
        pool = open_pool(made if source == "array" else "p.npy")
        return np.stack([pool.read(place) for place in range(n)]).ravel().tolist()

    return read, REFUSAL if bad else pixels.ravel().tolist()


def modules(rng: np.random.Generator) -> Case:
    import torch
    from torch import nn

    import contrasift as cs

    torch.manual_seed(int(rng.integers(2**31)))
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Dropout(0.5), nn.Linear(4, 3))
    kind = [torch.float32, torch.float64, torch.bfloat16][rng.integers(3)]
    net = net.to(kind).train(bool(rng.integers(2)))
    net[1].weight.requires_grad_(bool(rng.integers(2)))
    fault = str(rng.choice(["none", "none", "nan", "zero"]))
    if fault != "none":
        with torch.no_grad():
            for part in net[3].parameters():
                part.fill_(0.0 if fault == "zero" else float("nan"))
    images = rng.integers(0, 256, (5, 8, 8)).astype(np.uint8)
    flat = torch.tensor(images.reshape(5, 64) / np.float32(255)).to(kind)
    with torch.no_grad():
        z = net[3](net[1](flat)).float().numpy()
    state = [
        (part.training, [w.requires_grad for w in part.parameters()]) for part in net.modules()
    ]
    drawn = torch.get_rng_state().tolist()

    def embed() -> list[Any]:
        made = cs.embed(
            cs.open_pool(images), np.arange(5), net, views=0, plain_view=True, device="cpu"
        )
        after = [(p.training, [w.requires_grad for w in p.parameters()]) for p in net.modules()]
        kept = after == state and torch.get_rng_state().tolist() == drawn
        wanted = z / np.linalg.norm(z, axis=1, keepdims=True)
        # Eight bits of mantissa are summed in another order.
        close = np.allclose(made.values, wanted, atol=0.08 if kind == torch.bfloat16 else 1e-4)
        return [kept, close]

    return embed, REFUSAL if fault != "none" else [True, True]


KINDS: dict[str, tuple[Callable[[np.random.Generator], Case], int]] = {
    "names in memory": (names_in_memory, 3),
    "numbers in memory": (numbers_in_memory, 3),
    "names in tables": (names_in_tables, 2),
    "names in lines": (names_in_lines, 3),
    "labels of pools": (labels_of_pools, 3),
    "lists of ids": (lists_of_ids, 3),
    "scores by id": (scores_by_id, 2),
    "weights of classes": (weights_of_classes, 1),
    "folders and links": (folders_with_links, 1),
    "arrays as pools": (arrays_as_pools, 2),
    "modules": (modules, 1),
}


def run_case(number: int) -> tuple[str, str, str]:
    """Kind, outcome, and what is wrong, in words."""
    rng = np.random.default_rng(number)
    shares = np.array([share for _, share in KINDS.values()], dtype=float)
    kind = str(rng.choice(list(KINDS), p=shares / shares.sum()))
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    folder = tempfile.mkdtemp(prefix="fuzz-", dir=memory)
    try:
        with chdir(folder):
            work, wanted = KINDS[kind][0](rng)
            return (kind, *_outcome(work, wanted))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _outcome(work: Callable[[], Any], wanted: Any) -> tuple[str, str]:
    try:
        found = work()
    except ContrasiftError as error:
        if isinstance(wanted, Refusal):
            return "refused", ""
        return "wrong", f"wanted {wanted!r}, refused: {error}"
    except Exception:
        return "traceback", traceback.format_exc()
    if isinstance(wanted, Refusal) or found != wanted:
        return "wrong", f"wanted {wanted!r}, found {found!r}"
    return "right", ""


def fuzz(cases: int, seed: int = 0, result: Path | None = None) -> dict[str, Any]:
    """Run cases seed … seed + cases − 1; with a result file, go on where it ends."""
    done: dict[str, Any] = {"seed": seed, "cases": 0, "seconds": 0.0, "kinds": {}, "bad": {}}
    if result is not None and result.exists():
        before = json.loads(result.read_text(encoding="utf-8"))
        done = before if before["seed"] == seed else done
    begun, earlier = time.monotonic(), done["seconds"]
    while done["cases"] < cases:
        number = seed + done["cases"]
        kind, outcome, words = run_case(number)
        counts = Counter(done["kinds"].get(kind, {}))
        counts[outcome] += 1
        done["kinds"][kind] = dict(sorted(counts.items()))
        if words:
            done["bad"][str(number)] = f"{kind}: {outcome}: {words[-600:]}"
        done["cases"] += 1
        done["seconds"] = round(earlier + time.monotonic() - begun, 1)
        if result is not None and (done["cases"] % 200 == 0 or done["cases"] == cases):
            write_result(result, done)
    return done


def write_result(path: Path, done: dict[str, Any]) -> None:
    """Write a file of counts whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(done, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def totals(done: dict[str, Any]) -> Counter[str]:
    """How many cases had which outcome."""
    counts: Counter[str] = Counter()
    for part in done["kinds"].values():
        counts.update(part)
    return counts


def main() -> None:
    """Run, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int)
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    if asked.only is not None:
        print(*run_case(asked.only), sep="\n")
        return
    done = fuzz(asked.cases, asked.seed, asked.out)
    for kind, counts in sorted(done["kinds"].items()):
        print(f"{kind}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    print(dict(totals(done)), f"{done['seconds']} s")
    raise SystemExit(bool(done["bad"]))


if __name__ == "__main__":
    main()
