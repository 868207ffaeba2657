"""New examples beside a finished run: embedded alone, put into its classes, judged, selected anew."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contrasift.arrays import class_codes, row_blocks
from contrasift.errors import DataError, RunFolderError, UsageError
from contrasift.fingerprints import fingerprint_of
from contrasift.inference.apply import (
    RunClasses,
    RunEncoder,
    encoders_of_run,
    first_new_index,
    may_have_rule,
    rule_of_run,
)
from contrasift.narration import Narrator
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.embed import load_embeddings
from contrasift.pipeline.stages.scan import readable_positions, scan
from contrasift.pools import Pool, open_pool
from contrasift.pools.shifted import after
from contrasift.results import Embeddings, Selection
from contrasift.store.atomic import read_json, sha256_of, write_arrays, write_json, write_rows
from contrasift.store.run import RunFolder
from contrasift.store.selections import read_selection, write_selection
from contrasift.store.tables import read_latent_classes, read_table, write_table

MANIFEST = "extension.json"
# The folder of what is selected from all examples together.
ALL = "all"
_STAGES = ("embed", "classes", "select")


@dataclass(frozen=True)
class Lineage:
    """A run and what was added to it, the run first.

    Attributes:
        folders: of the run and of every extension, in the order of their indices.
    """

    folders: tuple[Path, ...]

    @classmethod
    def of(cls, folder: Path) -> Lineage:
        """Follow the manifests of extensions down to their run.

        Raises:
            RunFolderError: no run, or an extension that was not finished.
        """
        found = [Path(folder)]
        while (found[0] / MANIFEST).exists():
            before = Path(str(read_json(found[0] / MANIFEST)["extends"]))
            if "classes" not in RunFolder(found[0]).records():
                raise RunFolderError(
                    "a finished extension",
                    str(found[0]),
                    "Finish it first: the same command goes on",
                )
            found.insert(0, before)
        RunFolder.existing(found[0])
        return cls(tuple(found))

    @property
    def run(self) -> Path:
        """Where the encoder and the classes are."""
        return self.folders[0]

    @property
    def selected_in(self) -> Path:
        """The folder of the latest selection: of the run, or of an extension that selected anew."""
        again = [path / ALL for path in self.folders if (path / ALL / "selection.json").exists()]
        return again[-1] if again else self.run

    def fingerprint(self) -> str:
        """Changes with whatever new examples depend on."""
        records = RunFolder(self.run).records()
        missing = [stage for stage in _STAGES if stage not in records]
        if missing:
            raise RunFolderError(
                f"stage `{missing[0]}` of {self.run} to be finished",
                "a run without it",
                f"Do it first: contrasift {missing[0]} {self.run}",
            )
        parts = [records[stage].fingerprint for stage in _STAGES]
        for folder in self.folders[1:]:
            parts += [record.fingerprint for record in RunFolder(folder).records().values()]
        return fingerprint_of(*parts)


def extend(
    run_folder: Path,
    source: str,
    out: Path,
    *,
    labels: str = "",
    reselect: bool = False,
    device: str = "auto",
    update: bool = False,
    narrator: Narrator,
) -> dict[str, Any]:
    """Add the examples of another pool to a finished run, in a folder of their own.

    The run itself is only read. New examples get the indices behind the last of the run's (or of
    the extension's that is extended), and with them views of their own.

    Args:
        run_folder: a run, or an extension of one.
        source: the new pool, of the same kind of images.
        out: where results go.
        labels: where the new pool's labels come from; empty: as the run's, where that is no file.
        reselect: choose from old and new examples together, too.
        device: where the encoder runs.
        update: do stages again that were finished under other options.
        narrator: tells the user.

    Returns:
        facts, as `extension.json` holds them.

    Raises:
        RunFolderError: a run that is not finished up to its selection; a folder that is another's.
        UsageError: a selection that no rule can stand for, without `reselect`.
        DataError: images of another kind, or an encoder that has changed.
    """
    lineage = Lineage.of(run_folder)
    if out.resolve() in {path.resolve() for path in lineage.folders}:
        raise UsageError("a folder of its own for out=", f"{out}, which is to be extended")
    upstream = lineage.fingerprint()
    base = RunFolder(lineage.run)
    options = base.read_options()
    first = first_new_index(lineage.folders[-1])
    encoders = encoders_of_run(lineage.run)
    options = dataclasses.replace(
        options, pool=dataclasses.replace(options.pool, pool=source, limit=None)
    )
    run = Run(RunFolder(out), options, narrator, device=device, update=update)
    run.pool = open_like(encoders["embeddings"], source, labels or labels_of(base), first)
    return _Extension(lineage, run, encoders, upstream).make(reselect)


def open_like(encoder: RunEncoder, source: str, labels: str, first: int) -> Pool:
    """A new pool as a run looks at its own: the same side, under indices from `first` on.

    Raises:
        DataError: another number of channels than the encoder was trained with.
    """
    pool = open_pool(source, labels=labels, image_size=encoder.image_size, holdout=0)
    if encoder.was_trained_here and pool.channels != encoder.channels:
        kinds = {1: "grey", 3: "coloured"}
        raise DataError(
            f"{kinds[encoder.channels]} images, as the run's",
            f"{kinds[pool.channels]} ones in {source}",
            f"Give {kinds[encoder.channels]} ones: the encoder was trained on such alone",
        )
    return after(pool, first, mirror=encoder.mirror)


def labels_of(base: RunFolder) -> str:
    """Where labels come from: as the run's, but for a file, which is of its own pool."""
    labels = base.read_options().pool.labels
    return labels if labels in ("auto", "folders", "none") else "none"


@dataclass(frozen=True)
class _Extension:
    """An extension in progress."""

    lineage: Lineage
    run: Run
    encoders: dict[str, RunEncoder]
    upstream: str

    @property
    def path(self) -> Path:
        return self.run.folder.path

    def make(self, reselect: bool) -> dict[str, Any]:
        """All stages; those that are finished are skipped."""
        extends = str(self.lineage.folders[-1].resolve())
        write_json(self.path / MANIFEST, {"extends": extends, "upstream": self.upstream})
        scanned = scan(self.run).fingerprint
        embedded = [
            self._embed(stem, fingerprint_of(self.upstream, scanned, stem))
            for stem in self.encoders
        ]
        classes = self._classes(fingerprint_of(self.upstream, *embedded))
        facts: dict[str, Any] = {
            "extends": extends,
            "run": str(self.lineage.run.resolve()),
            "pool": self.run.options.pool.pool,
            "first_index": int(self.run.pool.index[0]),
            "upstream": self.upstream,
            **self._facts("scan", "n", "unreadable"),
            **self._facts("classes", "assigned_by", "assigner_agreement"),
        }
        if may_have_rule(read_selection(self.lineage.selected_in)):
            self._judge(fingerprint_of(self.upstream, classes))
            facts |= self._facts("judge", "kept", "rule_agreement")
        elif not reselect:
            rule_of_run(self.lineage.selected_in)  # says why there is none
        if reselect:
            self._reselect(fingerprint_of(self.upstream, classes, "all"))
        if "reselect" in self.run.folder.records():
            facts["reselected"] = dict(self.run.record("reselect").facts)
        write_json(self.path / MANIFEST, facts)
        return facts

    def _facts(self, stage: str, *names: str) -> dict[str, Any]:
        record = self.run.record(stage)
        return {name: record.facts[name] for name in names if name in record.facts}

    def _embed(self, stem: str, fingerprint: str) -> str:
        def work() -> dict[str, Any]:
            path = self.path / f"{stem}.npy"
            with self.run.narrator.progress("embedding") as progress:
                found = self.encoders[stem].embed(
                    self.run.pool,
                    readable_positions(self.run),
                    path=path,
                    device=self.run.device,
                    progress=progress,
                )
            n, width = found.values.shape
            about = {**found.description, "shape": [n, width], "sha256": sha256_of(path)}
            write_json(path.with_suffix(".json"), about)
            return {"note": f"{n:,} × {width}"}

        stage = "embed" if stem == "embeddings" else "embed-classes"
        self.run.do(stage, fingerprint, [f"{stem}.npy", f"{stem}.json"], work)
        return fingerprint

    def _classes(self, fingerprint: str) -> str:
        def work() -> dict[str, Any]:
            known = RunClasses.of(self.lineage.run)
            rows = self._class_rows()
            codes, score = known.assigner.classes_of(rows.values)
            labelled = self._by_label(known)
            codes = np.where(labelled >= 0, labelled, codes)
            write_table(
                self.path / "classes.parquet",
                {
                    "index": rows.index,
                    "latent_class": known.names[codes],
                    "score": np.where(labelled >= 0, np.float32(1), score),
                },
            )
            said = known.in_words()
            taken = int((labelled >= 0).sum())
            return {
                "assigned_by": known.assigner.way,
                "assigner_agreement": known.assigner.agreement(),
                "by_label": taken,
                "note": said + (f"; {taken:,} by their labels" if taken else ""),
            }

        self.run.do("classes", fingerprint, ["classes.parquet"], work)
        return fingerprint

    def _class_rows(self) -> Embeddings:
        stem = "class_embeddings" if "class_embeddings" in self.encoders else "embeddings"
        return load_embeddings(self.path, stem)

    def _by_label(self, known: RunClasses) -> np.ndarray:
        """Class code of every example whose label is a class, −1 elsewhere: where labels are the classes."""
        table = read_table(self.path / "examples.parquet", "label", "row")
        labels = table["label"][table["row"] >= 0]
        if self.run.options.classes.classes != "labels":
            return np.full(labels.size, -1)
        code = {str(name): number for number, name in enumerate(known.names)}
        return np.array([code.get(str(label), -1) for label in labels], dtype=np.int64)

    def _judge(self, fingerprint: str) -> None:
        def work() -> dict[str, Any]:
            known = rule_of_run(self.lineage.selected_in)
            new = load_embeddings(self.path, "embeddings")
            labels = read_latent_classes(self.path / "classes.parquet", new.index)
            codes, whole = _codes_in(labels, known.rule.names)
            parts = list(known.rule.judge(new.values, codes))
            keep = np.concatenate([part.keep for part in parts])
            write_arrays(self.path / "rule.npz", known.rule.as_arrays())
            write_table(
                self.path / "judged.parquet",
                {
                    "index": new.index,
                    "latent_class": labels,
                    "score": np.concatenate([part.score for part in parts]),
                    "keep": keep,
                },
            )
            note = f"{keep.sum():,} of {keep.size:,} kept by {known.in_words}"
            facts = {"kept": int(keep.sum()), "whole": whole, "note": note}
            return facts | ({} if known.agreement is None else {"rule_agreement": known.agreement})

        self.run.do("judge", fingerprint, ["judged.parquet", "rule.npz"], work)

    def _reselect(self, fingerprint: str) -> None:
        def work() -> dict[str, Any]:
            from contrasift.selection.select import select

            options = self.run.options.select
            if options.scores or options.target:
                raise UsageError(
                    "a selection by embeddings alone for reselect=",
                    f"one by {options.scores or options.target}",
                )
            together, labels = self._gather()
            chosen = select(together, labels, **options.arguments())
            write_selection(self.path / ALL, chosen, options=options.as_dict())
            facts = self._beside_judged(together, labels, chosen)
            return {"n": len(together), "budget": chosen.budget, **facts}

        names = ("embeddings.npy", "embeddings.json", "examples.parquet", "classes.parquet")
        files = [f"{ALL}/{name}" for name in (*names, "selection.parquet", "selection.json")]
        self.run.do("reselect", fingerprint, files, work)

    def _gather(self) -> tuple[Embeddings, np.ndarray]:
        """Old and new examples as one pool, in files that `select` takes as any other."""
        folders, home = (*self.lineage.folders, self.path), self.path / ALL
        stems = [RunFolder(self.lineage.run).matrix, *["embeddings"] * (len(folders) - 1)]
        parts = [load_embeddings(path, stem) for path, stem in zip(folders, stems, strict=True)]
        index = np.concatenate([part.index for part in parts])
        labels = [
            read_latent_classes(path / "classes.parquet", part.index)
            for path, part in zip(folders, parts, strict=True)
        ]
        matrix = home / "embeddings.npy"
        shape = (index.size, parts[0].values.shape[1])
        stacked = (
            part.values[block] for part in parts for block in row_blocks(len(part), 4 * shape[1])
        )
        write_rows(matrix, shape, "<f4", stacked)
        about = {name: part for name, part in parts[0].description.items() if name != "sha256"}
        write_json(home / "embeddings.json", {**about, "shape": shape, "sha256": sha256_of(matrix)})
        _write_examples(home / "examples.parquet", folders)
        together = np.concatenate(labels)
        write_table(home / "classes.parquet", {"index": index, "latent_class": together})
        return load_embeddings(home, "embeddings"), together

    def _beside_judged(
        self, together: Embeddings, labels: np.ndarray, chosen: Selection
    ) -> dict[str, Any]:
        """What was judged one by one beside what was selected together."""
        judged = [read_selection(self.lineage.selected_in).indices]
        covered = self.lineage.folders.index(self._selected_folder()) + 1
        for folder in (*self.lineage.folders[covered:], self.path):
            if (folder / "judged.parquet").exists():
                table = read_table(folder / "judged.parquet", "index", "keep")
                judged.append(table["index"][table["keep"]])
        kept = np.concatenate(judged)
        common = np.intersect1d(kept, chosen.indices).size
        facts: dict[str, Any] = {
            "judged": int(kept.size),
            "overlap": common / chosen.budget if chosen.budget else 1.0,
        }
        note = f"{chosen.budget:,} of {len(together):,}; of them {facts['overlap']:.2%} among the "
        note += f"{kept.size:,} judged one by one"
        if may_have_rule(chosen):
            whole = chosen.facts.get("allocate") == "global"
            codes, names = class_codes(None if whole else labels, len(together))
            value = objective_value(
                together.values, codes, len(names), np.isin(together.index, kept), chosen.redundancy
            )
            facts |= {"value": chosen.value, "judged_value": value}
            note += f"; F = {chosen.value:.6g}, theirs {value:.6g}"
        return facts | {"note": note}

    def _selected_folder(self) -> Path:
        where = self.lineage.selected_in
        return where.parent if where.name == ALL and where != self.lineage.run else where


def objective_value(
    values: np.ndarray, codes: np.ndarray, n_classes: int, selected: np.ndarray, redundancy: float
) -> float:
    """Σ_c ⟨M_c, T_c⟩ − λ‖M_c‖² of any set, in float64.

    Args:
        values: z, real [n, d].
        codes: int64 [n]; classes.
        n_classes: K.
        selected: bool [n].
        redundancy: λ.
    """
    total = np.zeros((n_classes, values.shape[1]))
    chosen = np.zeros_like(total)
    for block in row_blocks(len(values), 8 * values.shape[1]):
        rows = np.asarray(values[block], dtype=np.float64)
        np.add.at(total, codes[block], rows)
        np.add.at(chosen, codes[block][selected[block]], rows[selected[block]])
    return float((chosen * total).sum() - redundancy * (chosen**2).sum())


def _codes_in(labels: np.ndarray, names: np.ndarray) -> tuple[np.ndarray, bool]:
    """Class codes in a rule, and whether it is one for the whole pool."""
    if len(names) == 1 and not np.isin(labels, names).all():
        return np.zeros(labels.size, dtype=np.int64), True
    return np.searchsorted(names, labels).astype(np.int64), False


def _write_examples(path: Path, folders: tuple[Path, ...]) -> None:
    """The examples of all folders, with their rows in the stacked matrix."""
    columns: dict[str, list[np.ndarray]] = {}
    rows = 0
    for folder in folders:
        table = read_table(folder / "examples.parquet")
        readable = table["row"] >= 0
        table["row"] = np.where(readable, table["row"] + rows, -1)
        rows += int(readable.sum())
        for name, column in table.items():
            columns.setdefault(name, []).append(column)
    joined: dict[str, object] = {}
    for name, parts in columns.items():
        whole = np.concatenate(parts)
        joined[name] = whole.tolist() if whole.dtype == object else whole
    write_table(path, joined)
