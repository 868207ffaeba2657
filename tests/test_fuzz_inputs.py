"""A few hundred of the cases that `benchmarks/fuzz_inputs.py` runs by the thousand."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

_FILE = Path(__file__).parents[1] / "benchmarks" / "fuzz_inputs.py"


@pytest.fixture(scope="module")
def fuzz_inputs():
    spec = importlib.util.spec_from_file_location("fuzz_inputs", _FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_odd_inputs_are_right_or_refused(fuzz_inputs):
    done = fuzz_inputs.fuzz(300, seed=1_000_000)
    assert done["bad"] == {}
    assert set(done["kinds"]) == set(fuzz_inputs.KINDS)
    counts = fuzz_inputs.totals(done)
    assert counts["right"] > 100
    assert counts["refused"] > 100


def test_it_goes_on_where_it_stopped(fuzz_inputs, tmp_path):
    whole = fuzz_inputs.fuzz(12, seed=7, result=tmp_path / "whole.json")
    fuzz_inputs.fuzz(5, seed=7, result=tmp_path / "parts.json")
    parts = fuzz_inputs.fuzz(12, seed=7, result=tmp_path / "parts.json")
    assert parts["kinds"] == whole["kinds"]


def test_the_oracle_sees_what_is_wrong(fuzz_inputs):
    assert fuzz_inputs._outcome(lambda: 1, 2)[0] == "wrong"
    assert fuzz_inputs._outcome(lambda: 1, fuzz_inputs.REFUSAL)[0] == "wrong"
    assert fuzz_inputs._outcome(lambda: 1 / 0, 1)[0] == "traceback"
