"""What `contrasift text --bounds` has measured stands on the page, with claims of its own."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from contrasift.errors import DataError
from contrasift.evaluation import mean_and_interval
from contrasift.pipeline.studies.bounds import describe_terms
from contrasift.store.atomic import read_json, write_json
from contrasift.theory.terms import label_views, measure_terms
from reproduce.cell_store import CellStore
from reproduce.declared.catalogue import EXPERIMENTS
from reproduce.declared.texts import TEXT_BATCHES, TEXT_BOUNDS
from reproduce.render.claims import decided
from reproduce.render.text_bounds import text_studies
from tests.reproduce.test_pages import VALUES, write_cells, written

SIZES = (16, 64, 256)


def study(folder: Path, accuracy=lambda size, seed: 0.5) -> Path:
    """A bounds.json of two labels, whose bounds are really measured."""
    rng = np.random.default_rng(0)
    cells = []
    for size in SIZES:
        for seed in range(3):
            rows = rng.normal(size=(20, 4, 3))
            views = rows / np.linalg.norm(rows, axis=2, keepdims=True)
            data = label_views(views.astype(np.float32), np.arange(20) % 2)
            value = accuracy(size, seed)
            cells.append({
                **describe_terms(measure_terms(data, size - 1, 0.5, seed=seed)),
                "same_class_spread": 0.25,
                "seed": seed,
                "accuracy": {
                    "linear": 0.0, "linear_backbone": value, "mean_classifier": value / 2,
                },
                "seconds": 600.0,
                "made_with": {"commit": "abc", "processor": "an abacus"},
            })  # fmt: skip
    content = {
        "collection": "x",
        "source": {"texts": "my folder", "least": 500, "limit": None, "seed": 0},
        "texts": 80,
        "held_out": 20,
        "classes": ["a", "b"],
        "options": {"augmentation": "erase", "epochs": 10, "batch_size": 256, "rate": 0.5},
        "cells": cells,
    }
    path = folder / "texts" / "mine.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)
    return path


def test_the_page_has_both_tables_and_says_how_to_make_them_again(tmp_path):
    write_cells(tmp_path / "cells", VALUES)
    path = study(tmp_path, lambda size, seed: 0.5 + seed / 100 - size / 10_000)
    text = written(CellStore(tmp_path / "cells"))
    section = text.split("# The same bounds on texts (mine)")[1].split("\n# ")[0]
    assert (
        "2 labels, 80 texts to learn from, 20 held out; views by words that are erased" in section
    )
    assert "9 trainings, 1.5 hours, on an abacus, at commit abc" in section
    assert "| K + 1 | 16 | 64 | 256 |" in section
    own = mean_and_interval([100 * (0.5 + seed / 100 - 0.0016) for seed in range(3)])
    assert f"| linear | {own.mean:.1f} ± {own.standard_error:.1f} |" in section
    losses = [cell["contrastive_loss"] for cell in read_json(path)["cells"] if cell["draws"] == 64]
    assert f"{np.mean(losses):.3f} ± " in section.split("| L_Info |")[1].split("\n")[0]
    assert "| batches of 256 | -1.9 [-1.9, -1.9] | -1.0 [-1.0, -1.0] |" in section
    assert (tmp_path / "pages" / "plots" / "text-bounds-mine-by-k-1.svg").is_file()
    assert "](plots/text-bounds-mine-by-k-1.svg)" in section
    (command,) = [line for line in section.splitlines() if line.startswith("contrasift text")]
    assert shlex.split(command) == [
        "contrasift", "text", "my folder", "--least", "500", "--epochs", "10",
        "--bounds", "16,64,256", "--seeds", "3", "--out", "runs/bounds-mine",
    ]  # fmt: skip


def test_the_command_on_the_page_is_one(tmp_path):
    from contrasift.cli import app

    study(tmp_path)
    (one,) = text_studies(tmp_path / "texts")
    arguments = shlex.split(one.command())[1:]
    arguments[1] = "nowhere.csv"
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code in (1, 2)
    assert "nowhere.csv" in done.output
    assert "No such option" not in done.output


def test_claims_are_decided_by_these_texts(tmp_path):
    study(tmp_path, lambda size, seed: 0.5 - size / 5000)
    (one,) = text_studies(tmp_path / "texts")
    found = {
        (item.claim.text, item.metric): item.word
        for item in [
            *decided(TEXT_BOUNDS, "cpu", "confirm", one.along()),
            *decided(TEXT_BATCHES, "cpu", "confirm", [one.beside()]),
        ]
    }
    assert found["Larger batches do not hurt, within a point", "linear"] == "fails"
    assert found["Nozawa and Sato's bound holds", "bounds.gap_nozawa_sato"] == "holds"
    assert found["Arora's bound on L_sup explodes with K", "bounds.log_upper_arora"] == "holds"
    name = "Nozawa and Sato's bound on L_sup does not (ln of it grows by less than 1/4)"
    assert (name, "bounds.log_upper_nozawa_sato") in found


def test_claims_about_texts_are_those_about_images():
    images = {
        claim.text: claim
        for name in ("bounds", "number-of-negatives")
        for claim in EXPERIMENTS[name].claims
    }
    for claim in (*TEXT_BOUNDS.claims, *TEXT_BATCHES.claims):
        same = images[claim.text]
        assert (claim.margin, claim.rule, claim.source) == (same.margin, same.rule, same.source)
    for experiment in (TEXT_BOUNDS, TEXT_BATCHES):
        assert experiment.name not in EXPERIMENTS


def test_something_else_in_the_folder(tmp_path):
    write_json(tmp_path / "texts.json", {"cells": []})
    with pytest.raises(DataError, match="texts.json, which is something else"):
        list(text_studies(tmp_path))
    assert list(text_studies(tmp_path / "nowhere")) == []
