"""A selection handed on: to torch, to Hugging Face datasets, to pandas and Arrow."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import contrasift as cs
from contrasift.errors import UsageError
from contrasift.results import Embeddings


@pytest.fixture
def selection(rng):
    """From a pool some of whose items could not be read."""
    values = np.abs(rng.standard_normal((30, 5))).astype(np.float32)
    pool = Embeddings(values, np.delete(np.arange(33), [4, 11, 20]))
    return cs.select(pool, rng.integers(0, 3, 30), fractions=[0.1, 0.4])


def test_the_subset_of_a_torch_dataset_has_the_selected_items(selection):
    torch = pytest.importorskip("torch")
    dataset = torch.utils.data.TensorDataset(torch.arange(33))
    subset = selection.subset(dataset)
    assert isinstance(subset, torch.utils.data.Subset)
    assert [item[0].item() for item in subset] == selection.indices.tolist()
    loader = torch.utils.data.DataLoader(subset, batch_size=5)
    assert torch.cat([batch for (batch,) in loader]).tolist() == selection.indices.tolist()


def test_another_dataset_is_refused(selection):
    torch = pytest.importorskip("torch")
    short = torch.utils.data.TensorDataset(torch.arange(int(selection.indices[-1])))
    with pytest.raises(UsageError, match="the dataset that was selected from"):
        selection.subset(short)


def test_without_torch_the_extra_is_named(selection):
    code = """
import sys
sys.modules["torch"] = None
import numpy as np, contrasift as cs
try:
    cs.select(np.eye(4), fraction=0.5).subset([1, 2, 3, 4])
except cs.ContrasiftError as error:
    print(error)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "contrasift[train]" in out.stdout


def test_a_hugging_face_dataset_takes_the_indices(selection):
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset.from_dict({"number": list(range(33))})
    assert dataset.select(selection.indices)["number"][:] == selection.indices.tolist()
    best = dataset.select(selection.ranking[:3])
    assert best["number"][:] == selection.ranking[:3].tolist()


def test_arrow_and_pandas_have_the_columns_of_the_file(selection, tmp_path):
    from contrasift.store.selections import write_selection
    from contrasift.store.tables import read_table

    write_selection(tmp_path, selection)
    written = read_table(tmp_path / "selection.parquet")
    table = selection.to_arrow()
    assert table.column_names == list(written)
    for name, column in written.items():
        np.testing.assert_array_equal(table[name].to_numpy(), column)
    pytest.importorskip("pandas")
    frame = selection.to_pandas()
    assert list(frame.columns) == list(written)
    assert frame.loc[frame.selected, "index"].sort_values().tolist() == selection.indices.tolist()
    assert frame["selected_0.1"].sum() == 3
