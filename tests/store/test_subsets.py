from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contrasift.errors import DataError
from contrasift.store.subsets import check_in_pool, load_subset_file
from contrasift.store.tables import write_table


def test_every_format_gives_the_same_indices():
    np.save("list.npy", np.array([7, 2, 5]))
    Path("list.txt").write_text("7\n2\n5\n")
    Path("list.csv").write_text("index,name\n7,a\n2,b\n5,c\n")
    Path("marked.csv").write_text("selected,index\nTrue,7\nfalse,9\n1,2\ntrue,5\n")
    write_table(Path("list.parquet"), {"index": np.array([7, 2, 5])})
    marks = np.array([True, False, True, True])
    write_table(Path("marked.parquet"), {"index": np.array([7, 9, 2, 5]), "selected": marks})
    for name in (
        "list.npy",
        "list.txt",
        "list.csv",
        "marked.csv",
        "list.parquet",
        "marked.parquet",
    ):
        found = load_subset_file(Path(name))
        assert found.tolist() == [2, 5, 7], name
        assert found.dtype == np.int64


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("a.txt", "1\n2\n2\n2\n3\n3\n", r"3 of 6 repeat another, such as 2, which stands there 3"),
        ("a.txt", "4\n-1\n", r"at least 0.*-1"),
        ("a.txt", "", "at least one index"),
        ("a.txt", "cat\n", "one integer a line"),
        ("a.csv", "name\ncat\n", "the column index"),
        ("a.csv", "index\ncat\n", "integers in the column index"),
        ("a.csv", "index,selected\n1,maybe\n", "true or false"),
        ("a.csv", "index,selected\n1,0\n", "at least one index"),
        ("a.parquet", "no table", "whole Parquet file"),
    ],
)
def test_bad_files(name, text, match):
    Path(name).write_text(text)
    with pytest.raises(DataError, match=match):
        load_subset_file(Path(name))


def test_bad_tables():
    write_table(Path("a.parquet"), {"row": np.arange(3)})
    with pytest.raises(DataError, match="the column index"):
        load_subset_file(Path("a.parquet"))
    write_table(Path("a.parquet"), {"index": np.array([0.5, 1.0])})
    with pytest.raises(DataError, match="integers"):
        load_subset_file(Path("a.parquet"))
    np.save("a.npy", np.array([[1, 2]]))
    with pytest.raises(DataError, match="one integer a line"):
        load_subset_file(Path("a.npy"))


def test_indices_that_the_pool_lacks():
    check_in_pool(np.array([2, 5]), np.array([2, 3, 5]), "list")
    with pytest.raises(DataError, match=r"\(2 to 5\) in list.*2 others, such as 4, 9"):
        check_in_pool(np.array([2, 4, 9]), np.array([2, 3, 5]), "list")
