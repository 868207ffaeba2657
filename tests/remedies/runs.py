"""Remedies at the command line, of runs and of folders of results, followed.

A case is a command that fails, words of its remedy, and the commands that do as it says.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from contrasift.inference.apply import encoders_of_run
from contrasift.training.encoder_files import save_encoder
from contrasift.training.encoders import build_encoder
from remedies.cases import Case, call, rows, steps, written

TINY = "--architecture narrow:0.125 --epochs 1 --proxy-epochs 1 --views 1 --batch-size 16"
PROXY = "--encoder run/training/proxy/encoder.safetensors --views 1"
KMEANS = "--classes kmeans --n-classes 3 --restarts 1"


def images(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, 200, (3, 8, 8))[np.arange(n) % 3] + rng.integers(0, 40, (n, 8, 8))
    ).astype(np.uint8)


def make_home(folder: Path) -> None:
    """`run`, finished up to its selection; `begun`, embedded alone; `more`, an extension of `run`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        np.savez("old.npz", images=images(60), labels=np.arange(60) % 3)
        np.savez("other.npz", images=images(60, 9), labels=np.arange(60) % 3)
        np.save("new.npy", images(20, 1))
        call(f"embed old.npz {TINY} --out run")
        shutil.copytree("run", "begun")
        call(f"classes run {KMEANS}")
        call("select run --fraction 0.5")
        call("extend run new.npy --out more")
        save_encoder(build_encoder("narrow:0.125", 1, 8, 128, 5), Path("other-encoder"))
        np.save("z.npy", rows())
        call("select z.npy --fraction 0.5 --classes none --out chosen")
        written("somebody's", "full/note.txt")
        written("query\tpositive\n" + "".join(f"{n}\t{n + 1}\n" for n in range(11)), "pairs.tsv")
        np.save("pairs12.npy", np.stack([np.arange(12), np.arange(12) + 1], 1))


def moved() -> None:
    Path("old.npz").rename("elsewhere.npz")


def changed() -> None:
    np.savez("old.npz", images=images(60, 5), labels=np.arange(60) % 3)


def other_embedding() -> None:
    call("embed old.npz --views 2 --out run --update")


def colours() -> None:
    np.save("colours.npy", np.repeat(images(20)[..., None], 3, axis=3))


def grey() -> None:
    np.save("grey.npy", images(20))


def mine(words: str = "--policy all --per-query 2") -> str:
    return f"mine z.npy --positives some.tsv {words} --out mined"


def mined() -> None:
    some()
    call(mine())


def some() -> None:
    text = "query\tpositive\n" + "".join(f"{n}\t{n ^ 1}\n" for n in range(12))
    Path("some.tsv").write_text(text)


def bad_rows() -> None:
    values = rows()
    values[3] = np.nan
    np.save("bad.npy", values)


def all_of_the_bad() -> None:
    """Every query's positive is the row that cannot be compared."""
    pairs = "".join(f"{n}\t{0 if n == 3 else 3}\n" for n in range(12))
    written("query\tpositive\n" + pairs, "some.tsv")


OF_FILE = "--policy ~same_latent_class --per-query 1 --classes mine.txt"


def labels_here() -> None:
    written("0\n1\n2\n" * 4, "mine.txt")


def foreign_classes() -> None:
    Path("taken").mkdir()
    pq.write_table(
        pa.table({"index": np.arange(12), "latent_class": [0, 1] * 6}), "taken/classes.parquet"
    )


def sampled() -> None:
    path = Path("run/selection.json")
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"optimizer": "auto"}))


def by_coverage() -> None:
    call("select run --objective coverage-centre --fraction 0.5 --update")


def texts() -> None:
    lines = "".join(f"a{n % 5} b{n % 3} word,{'xy'[n % 2]}\n" for n in range(40))
    Path("t.csv").write_text("body,label\n" + lines)
    Path("few.csv").write_text("text,label\n" + lines + "a b,rare\n")


def spread(words: str) -> str:
    return f"text {words} --epochs 1 --dim 4 --projection-dim 4 --min-count 1 --batch-size 8"


def scored() -> None:
    scores = np.where(np.arange(12) == 4, np.nan, np.arange(12.0))
    np.save("s.npy", scores)
    written("4\n", "drop.txt")


def in_utf8() -> None:
    written(Path("c.txt").read_text(encoding="utf-16"), "c.txt")


ENCODER = "training/proxy/encoder.safetensors"
DYNAMICS = "--epochs 1 --seeds 1 --architecture narrow:0.125"


def full() -> None:
    """`plan run` on a disk that is full."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("contrasift.store.run.RunFolder.records", fail)
        call("plan run")


FULL = full


def run_begun() -> None:
    """A run of a pool that is named, as far as its first stage."""
    begun = []
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(IndexError):
        patch.setattr("contrasift.pipeline.full.run_all", lambda run: begun.append(run) or [][0])
        call("run old.npz --out r")
    assert begun[0].options.pool.pool == "old.npz"


def cut_short() -> None:
    """A study whose only training has begun."""
    call(f"dynamics old.npz --out d {DYNAMICS}")
    for stage in ("dynamics", "dynamics seed0"):
        forget("d", stage)


def reproduced() -> None:
    from reproduce.cli import app

    assert CliRunner().invoke(app, ["--help"]).exit_code == 0


def removed(name: str) -> Callable[[], Any]:
    return lambda: Path(name).unlink()


def other_examples(name: str) -> None:
    found = pq.read_table(name)
    moved = pa.array(found["index"].to_numpy() + 1)
    pq.write_table(found.set_column(found.column_names.index("index"), "index", moved), name)


def nothing() -> None:
    """Nothing has to be there."""


# Name: what is prepared, the command that fails, words of its remedy, the commands that follow it.
COMMANDS: dict[
    str, tuple[Callable[[], Any], str | Callable[[], Any], str, list[str | Callable[[], Any]]]
] = {
    "a budget": (
        nothing,
        "select z.npy --out o",
        "--fraction 0.2",
        ["select z.npy --fraction 0.2 --classes none --out o"],
    ),
    "scores dropped": (
        scored,
        "select z.npy --fraction 0.5 --objective scores --scores s.npy --out o",
        "--must-drop",
        [
            "select z.npy --fraction 0.5 --objective scores --scores s.npy --must-drop drop.txt"
            " --classes none --out o"
        ],
    ),
    "an encoder before it is applied": (
        lambda: (shutil.copytree("run", "r2"), forget("r2", "embed")),
        lambda: encoders_of_run(Path("r2")),
        "contrasift embed old.npz --out r2",
        ["embed old.npz --out r2", lambda: encoders_of_run(Path("r2"))],
    ),
    "another place or an update": (
        nothing,
        "select z.npy --fraction 0.25 --classes none --out chosen",
        "another --out, or pass --update",
        [
            "select z.npy --fraction 0.25 --classes none --out chosen --update",
            "select z.npy --fraction 0.25 --classes none --out other",
        ],
    ),
    "a text saved again": (
        lambda: written(("a\nb\n" * 6).encode("utf-16"), "c.txt"),
        "select z.npy --fraction 0.5 --classes c.txt --out o",
        "Save it as UTF-8",
        [in_utf8, "select z.npy --fraction 0.5 --classes c.txt --out o"],
    ),
    "a command by its name": (nothing, "selct z.npy", "contrasift select", ["select --help"]),
    "bounds of a run alone": (
        nothing,
        "bounds run --classes 3",
        "A run brings its own classes",
        ["bounds --classes 3"],
    ),
    "a place of one's own for a run": (
        nothing,
        f"embed old.npz {TINY} --out full",
        "another --out",
        [f"embed old.npz {TINY} --out free"],
    ),
    "the options of a run": (
        nothing,
        "embed old.npz --views 2 --out run",
        "--update",
        ["embed old.npz --views 2 --out run --update"],
    ),
    "a method of classes": (
        nothing,
        "classes begun --classes kmean",
        "kmeans",
        [f"classes begun {KMEANS}"],
    ),
    "dynamics of a pool": (
        nothing,
        "dynamics old.npz",
        "--out DIR",
        ["dynamics old.npz --out d --epochs 1 --seeds 1 --architecture narrow:0.125"],
    ),
    "a place for an extension": (
        nothing,
        "extend run new.npy --out full",
        "another --out",
        ["extend run new.npy --out free"],
    ),
    "what a run's selection takes": (
        nothing,
        "select run --threads 1 --fraction 0.5",
        "add --out",
        ["select run --threads 1 --fraction 0.5 --classes none --out free"],
    ),
    "classes of a folder": (
        lambda: (Path("e").mkdir(), np.save("e/z.npy", rows())),
        "classes e",
        "contrasift classes e --out FOLDER",
        ["classes e --classes none --out c"],
    ),
    "filtering by a selection": (
        lambda: call(f"classes begun {KMEANS}"),
        "filter new.npy --run begun --out f.parquet",
        "contrasift select begun",
        ["select begun --fraction 0.5", "filter new.npy --run begun --out f.parquet"],
    ),
    "new examples without a rule": (
        by_coverage,
        "extend run new.npy --out m",
        "--reselect",
        ["extend run new.npy --out m --reselect"],
    ),
    "an export once more": (
        lambda: Path("x.txt").write_text(""),
        "export run --to ids --out x.txt",
        "another --out, or delete it",
        ["export run --to ids --out y.txt"],
    ),
    "ids of bare embeddings": (
        nothing,
        "export chosen --to ids --out x.txt",
        "Export its indices",
        ["export chosen --to indices --out x.npy"],
    ),
    "an export of a selection": (
        lambda: call(f"classes begun {KMEANS}"),
        "export begun --to ids --out x.txt",
        "contrasift select begun --fraction 0.2",
        ["select begun --fraction 0.2", "export begun --to ids --out x.txt"],
    ),
    "a folder for an export": (
        nothing,
        "export run --to webdataset --out z.npy",
        "another --out",
        ["export run --to webdataset --out x"],
    ),
    "an empty folder for an export": (
        nothing,
        "export run --to webdataset --out full",
        "another --out, or delete it",
        ["export run --to webdataset --out x"],
    ),
    "what was mined": (
        some,
        "export chosen --to triplet --out x.jsonl",
        "contrasift mine QUERIES CORPUS",
        [mine(), "export mined --to triplet --out x.jsonl"],
    ),
    "what was mined, elsewhere": (
        lambda: (mined(), Path("x.jsonl").write_text("")),
        "export mined --to triplet --out x.jsonl",
        "another --out, or delete it",
        ["export mined --to triplet --out y.jsonl"],
    ),
    "mined with texts": (
        lambda: (mined(), Path("t.txt").write_text("a\n" * 12)),
        "export mined --to triplet --texts --out x.jsonl",
        "--update",
        [
            mine("--policy all --per-query 2 --query-texts t.txt --update"),
            "export mined --to triplet --texts --out x.jsonl",
        ],
    ),
    "mined otherwise": (
        mined,
        mine("--policy all --per-query 3"),
        "--update",
        [mine("--policy all --per-query 3 --update")],
    ),
    "mined by a loose policy": (
        some,
        mine("--policy above(1)"),
        "Loosen the policy",
        [mine("--policy all --per-query 1"), mine("--policy above(0) --allow-fewer --update")],
    ),
    "pairs by row": (
        lambda: np.save("long.npy", rows(20)),
        "mine z.npy long.npy --positives rows --policy all --out m",
        "a file of pairs",
        ["mine z.npy long.npy --positives pairs12.npy --policy all --out m"],
    ),
    "rows of the source": (
        lambda: (
            np.save("y.npy", rows()),
            call("select y.npy --fraction 0.5 --classes none --out s"),
            np.save("y.npy", rows() * 2),
        ),
        "export s --to rows --out x.parquet",
        "Select again",
        [
            "select y.npy --fraction 0.5 --classes none --out s --update",
            "export s --to indices --out x.npy",
        ],
    ),
    "rows without tables": (
        nothing,
        "export chosen --to rows --out x.parquet",
        "indices",
        ["export chosen --to indices --out x.npy"],
    ),
    "an extension of what is there": (
        nothing,
        "extend begun new.npy --out m",
        "contrasift classes begun",
        [f"classes begun {KMEANS}", "select begun --fraction 0.5", "extend begun new.npy --out m"],
    ),
    "a finished extension": (
        lambda: forget("more", "classes"),
        "extend more new.npy --out m",
        "the same command goes on",
        ["extend run new.npy --out more", "extend more new.npy --out m"],
    ),
    "a pool that moved": (
        moved,
        f"classes begun {KMEANS}",
        "--pool PLACE",
        ["plan run --pool elsewhere.npz"],
    ),
    "a pool that changed": (
        changed,
        "train run --subset selected",
        "contrasift extend run NEWPOOL --out DIR",
        ["extend run new.npy --out m"],
    ),
    "a stage of the pool as it is": (
        nothing,
        "select begun --fraction 0.5",
        "contrasift classes begun",
        [f"classes begun {KMEANS}", "select begun --fraction 0.5"],
    ),
    "a subset of a batch": (
        nothing,
        "train run --subset 0.1",
        "--batch-size 5",
        ["train run --subset 0.1 --batch-size 5 --update"],
    ),
    "a share of the ranking": (
        nothing,
        "train run --subset 20.0",
        "0.2",
        ["train run --subset 0.7"],
    ),
    "classes that somebody made": (
        foreign_classes,
        "select z.npy --fraction 0.5 --out taken",
        "--classes taken/classes.parquet",
        ["select z.npy --fraction 0.5 --classes taken/classes.parquet --out taken"],
    ),
    "classes found otherwise": (
        lambda: call(f"classes z.npy {KMEANS} --out c"),
        "classes z.npy --classes kmeans --n-classes 2 --out c",
        "--update",
        ["classes z.npy --classes kmeans --n-classes 2 --out c --update"],
    ),
    "classes of bad rows": (
        bad_rows,
        f"classes bad.npy {KMEANS} --out c",
        "--skip-bad",
        [f"classes bad.npy {KMEANS} --skip-bad --out c"],
    ),
    "a folder and no file": (
        nothing,
        "select z.npy --fraction 0.5 --out z.npy",
        "another --out",
        ["select z.npy --fraction 0.5 --classes none --out free"],
    ),
    "a folder of one's own": (
        nothing,
        "select z.npy --fraction 0.5 --out run",
        "leave --out away to select within the run",
        ["select run --fraction 0.5"],
    ),
    "threads of a cluster": (
        nothing,
        "select z.npy --fraction 0.5 --engine ray --threads 1 --out o",
        "Ray's workers",
        ["select z.npy --fraction 0.5 --classes none --threads 1 --out o"],
    ),
    "ranks that were sampled": (
        sampled,
        "select run --optimizer greedy --fraction 0.5 --update",
        "leave --optimizer at auto",
        ["select run"],
    ),
    "a report of a selection": (
        nothing,
        "report full",
        "contrasift select EMBEDDINGS --fraction 0.2 --out FOLDER",
        ["select z.npy --fraction 0.2 --classes none --out f", "report f"],
    ),
    "bounds of a trained encoder": (
        lambda: shutil.rmtree("run/training"),
        "bounds run",
        "contrasift train run",
        ["train run --subset selected"],
    ),
    "negatives of a trained encoder": (
        nothing,
        "negatives run --arm full-seed0 --queries 10 --negatives 10",
        "contrasift train run --subset full",
        ["train run --subset full", "negatives run --arm full-seed0 --queries 9 --negatives 9"],
    ),
    "selections of one pool": (
        lambda: (np.save("y.npy", rows(9)), call("select y.npy --budget 4 --classes none --out y")),
        "compare-selections chosen y",
        "same embeddings",
        [
            "select z.npy --budget 4 --classes none --out x",
            "compare-selections chosen x",
        ],
    ),
    "a folder with a selection": (
        nothing,
        "compare-selections chosen full",
        "contrasift select",
        ["select z.npy --budget 4 --classes none --out x", "compare-selections chosen x"],
    ),
    "runs that are embedded": (
        lambda: (shutil.copytree("run", "r2"), forget("r2", "embed")),
        "compare run r2",
        "contrasift embed",
        ["embed old.npz --out r2", "compare run r2"],
    ),
    "runs of one pool": (
        lambda: call(f"embed other.npz {PROXY} --out r2"),
        "compare run r2",
        "Embed the same pool in both",
        [f"embed old.npz {PROXY} --out r3", "compare run r3"],
    ),
    "runs of the same examples": (
        lambda: call(f"embed old.npz {PROXY} --limit 30 --out r2"),
        "compare run r2",
        "same --limit",
        [f"embed old.npz {PROXY} --out r3", "compare run r3"],
    ),
    "ranks to plot": (
        nothing,
        "compare begun run --plot p.html",
        "contrasift select",
        [
            f"classes begun {KMEANS}",
            "select begun --fraction 0.5",
            "compare begun run --plot p.html",
        ],
    ),
    "accuracy of a run": (
        nothing,
        "plan chosen --accuracy",
        "--fractions",
        ["select z.npy --fractions 0.2,0.5 --classes none --out f"],
    ),
    "a column of texts": (
        texts,
        spread("t.csv --out t"),
        "--text-column",
        [spread("t.csv --text-column body --out t")],
    ),
    "texts made otherwise": (
        lambda: (texts(), call(spread("t.csv --text-column body --out t"))),
        spread("t.csv --text-column body --seed 1 --out t"),
        "another --out",
        [spread("t.csv --text-column body --seed 1 --out t1")],
    ),
    "labels for the bounds": (
        texts,
        spread("t.csv --text-column body --label-column none --bounds 4 --out t"),
        "--label-column",
        [spread("t.csv --text-column body --bounds 4 --out t")],
    ),
    "no rare labels": (
        texts,
        spread("few.csv --bounds 4 --out t"),
        "--least 20",
        [spread("few.csv --bounds 4 --least 20 --out t")],
    ),
    "counts or priors": (
        lambda: (written("0.5\n0.5\n", "p.txt"), written("3\n5\n", "c.txt")),
        "bounds --priors p.txt --counts c.txt",
        "Counts make their own priors",
        ["bounds --counts c.txt --negatives 4"],
    ),
    "negatives of a batch": (
        nothing,
        "bounds --classes 3 --negatives 4 --batch-size 5",
        "A batch of b has K = b − 1",
        ["bounds --classes 3 --negatives 4"],
    ),
    "a pool to run": (
        nothing,
        "run --out r",
        "contrasift run letters, or see `contrasift datasets`",
        ["datasets", run_begun],
    ),
    "the papers' tables": (
        nothing,
        "experiment table1",
        "python -m reproduce NAME, or --help",
        [reproduced],
    ),
    "an encoder of the run's own images": (
        lambda: (
            shutil.move("run/" + ENCODER, "e"),
            shutil.copy("other-encoder", "run/" + ENCODER),
        ),
        "extend run new.npy --out m",
        "bring the old encoder back",
        [lambda: shutil.copy("e", "run/" + ENCODER), "extend run new.npy --out m"],
    ),
    "images of the run's kind": (
        lambda: (colours(), grey()),
        "extend run colours.npy --out m",
        "Give grey ones",
        ["extend run grey.npy --out m"],
    ),
    "a run that knows its pool": (
        lambda: (shutil.copytree("run", "r2"), forget("r2", "scan")),
        "plan r2 --pool old.npz",
        "Embed it first",
        [f"embed old.npz {TINY} --out r2", "plan r2 --pool old.npz"],
    ),
    "a stage of the new pool": (
        lambda: (changed(), call(f"embed old.npz {TINY} --out run --update")),
        "select run --update",
        "contrasift classes run --update",
        ["classes run --update", "select run --update"],
    ),
    "a subset of two": (
        nothing,
        "train run --subset 0.01",
        "Select more",
        ["train run --subset 0.7"],
    ),
    "classes of a matrix": (
        lambda: (written("0,a\n1,b\n", "few.csv"), written("a\nb\n" * 6, "all.txt")),
        "classes z.npy --classes labels --out c",
        "--few-labels FILE, or all of them with --classes FILE",
        [
            "classes z.npy --classes few-labels --few-labels few.csv --out c",
            "select z.npy --classes all.txt --fraction 0.5 --out d",
        ],
    ),
    "classes of a rule": (
        lambda: (
            written("a\nb\n" * 6, "all.txt"),
            written("a\nx\n" * 6, "strange.txt"),
            call("select z.npy --classes all.txt --fraction 0.3 --optimizer relaxed --out r"),
        ),
        "filter z.npy --rule r/rule.npz --classes strange.txt --out f.parquet",
        "Leave --classes away",
        ["filter z.npy --rule r/rule.npz --out f.parquet"],
    ),
    "a stage under other options": (
        nothing,
        "classes run --classes kmeans --n-classes 2 --restarts 1",
        "--update",
        ["classes run --classes kmeans --n-classes 2 --restarts 1 --update"],
    ),
    "a file of a stage": (
        lambda: Path("run/selection.parquet").unlink(),
        "export run --to ids --out ids.txt",
        "Make it again: contrasift select run",
        ["select run", "export run --to ids --out ids.txt"],
    ),
    "a table of a stage": (
        lambda: Path("run/classes.parquet").unlink(),
        "plan run",
        "Make it again: contrasift classes run",
        ["classes run", "plan run"],
    ),
    "rows that cannot be mined": (
        lambda: (some(), bad_rows()),
        mine().replace("z.npy", "bad.npy"),
        "--skip-bad",
        [mine("--policy all --per-query 2 --skip-bad").replace("z.npy", "bad.npy")],
    ),
    "positives that are left": (
        lambda: (bad_rows(), all_of_the_bad()),
        mine("--policy all --per-query 2 --skip-bad").replace("z.npy", "bad.npy"),
        "name other positives",
        [some, mine("--policy all --per-query 2 --skip-bad").replace("z.npy", "bad.npy")],
    ),
    "a whole matrix of a run": (
        lambda: np.save("run/embeddings.npy", rows(5)),
        "compare run begun",
        "contrasift embed old.npz --out run",
        [removed("run/embeddings.npy"), "embed old.npz --out run", "compare run begun"],
    ),
    "a selection of a run's own examples": (
        lambda: np.save("run/ranking.npy", np.load("run/ranking.npy") + 1),
        "compare run begun",
        "Delete run/selection.json, then: contrasift select run",
        [removed("run/selection.json"), "select run", "compare run begun"],
    ),
    "names of other examples": (
        lambda: other_examples("run/selection.parquet"),
        "export run --to ids --out ids.txt",
        "Delete run/selection.parquet, then: contrasift select run",
        [removed("run/selection.parquet"), "select run", "export run --to ids --out ids.txt"],
    ),
    "classes of other examples": (
        lambda: other_examples("run/classes.parquet"),
        "select run --fraction 0.25 --update",
        "Delete run/classes.parquet and run `contrasift classes` again",
        [removed("run/classes.parquet"), "classes run", "select run --fraction 0.25 --update"],
    ),
    "what was mined, damaged": (
        lambda: (mined(), written("{", "mined/mined.json")),
        mine(),
        "Choose another --out, or pass --update to replace it",
        [mine().replace("--out mined", "--out other"), mine() + " --update"],
    ),
    "latent classes to mine by": (
        some,
        mine("--policy ~same_latent_class --per-query 1 --classes none"),
        "--classes auto",
        [labels_here, mine(OF_FILE)],
    ),
    "labels to mine by": (
        some,
        mine("--policy ~same_class --per-query 1"),
        "Give --labels, or use same_latent_class",
        [
            labels_here,
            mine("--policy ~same_class --per-query 1 --labels mine.txt"),
            mine(OF_FILE) + " --update",
        ],
    ),
    "a policy that nothing passes": (
        some,
        mine("--policy above(1) --per-query 1 --allow-fewer"),
        "Loosen the policy",
        [mine("--policy all --per-query 1 --allow-fewer")],
    ),
    "fewer than are asked for": (
        some,
        mine("--policy above(1) --per-query 2"),
        "ask for fewer (--per-query), or keep what there is: --allow-fewer",
        [
            mine("--policy all --per-query 1"),
            mine("--policy above(0) --per-query 2 --allow-fewer --update"),
        ],
    ),
    "a fault of the machine": (
        lambda: None,
        FULL,
        "Make room, then repeat the command",
        ["plan run"],
    ),
    "dynamics under other options": (
        cut_short,
        f"dynamics old.npz --out d {DYNAMICS} --learning-rate 0.5",
        "--update",
        [f"dynamics old.npz --out d {DYNAMICS} --learning-rate 0.5 --update"],
    ),
}


def forget(run: str, stage: str) -> None:
    path = Path(run, "stages.json")
    known = json.loads(path.read_text())
    del known[stage]
    path.write_text(json.dumps(known))


def case(
    prepare: Callable[[], Any], wrong: str, words: str, right: list[str | Callable[[], Any]]
) -> Case:
    return lambda: (prepare(), steps(wrong)()), words, steps(*right)


CASES = {"of a command": {name: case(*of) for name, of in COMMANDS.items()}}
