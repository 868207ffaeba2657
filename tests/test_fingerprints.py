"""Words that runs on users' disks already hold: none of them may ever change."""

from __future__ import annotations

import hashlib
import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contrasift.fingerprints import array_sha256, fingerprint_of, json_fingerprint


def test_golden():
    assert fingerprint_of() == "e3b0c44298fc1c14"  # of nothing, as everywhere
    assert fingerprint_of("abc") == "ba7816bf8f01cfea"  # FIPS 180-2, appendix B.1
    assert fingerprint_of("scan", "0011 é") == "9e795f0da5880685"
    assert json_fingerprint([{"b": 1, "a": None}, ("x",)]) == "4a75e877527e9d3f"
    assert array_sha256(np.arange(3)).startswith("ab25350e3e65efeb")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_as_versions_before_wrote_it_out(parts: list[str]):
    expected = hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]
    assert fingerprint_of(*parts) == expected
    assert fingerprint_of(" ".join(parts)) == expected
    text = json.dumps(parts, sort_keys=True)
    assert json_fingerprint(parts) == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_an_array_counts_in_c_order():
    values = np.arange(6, dtype=np.int64).reshape(2, 3)
    assert array_sha256(values.T) == array_sha256(np.ascontiguousarray(values.T))
    assert array_sha256(values.T) != array_sha256(values)
