"""Where a run goes when nobody says: a folder called after its pool."""

import pytest

from contrasift.cli.run import _run_name
from contrasift.options import RunOptions


@pytest.mark.parametrize(
    ("pool", "name"),
    [
        ("digits", "digits"),
        ("glyphs:/fonts/mine", "mine"),
        ("photos/", "photos"),
        ("data/shards/*.tar", "shards"),
        ("data/s-{000..099}.tar", "data"),
        ("data/s.tar", "s.tar"),
        ("hf:some/one:train", "one-train"),
        ("*.tar", "pool"),
    ],
)
def test_the_name_of_a_run(pool, name):
    assert _run_name(RunOptions.from_mapping({"pool": {"pool": pool}})) == name
