"""Rows of any size that numbers can have (the kind of fault 17)."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import contrasift as cs
from contrasift.arrays import unit_rows
from contrasift.classes.agreement import class_agreement
from contrasift.classes.assign import fit_assigner
from contrasift.errors import DataError

SHIFTS = [-1000, -600, -126, -41, 41, 62, 126, 600, 900]
WAYS = {
    "euclidean": {"whiten": 0, "metric": "euclidean"},
    "spherical": {"whiten": 0, "metric": "spherical"},
    "whitened": {"whiten": 3, "metric": "spherical"},
}


def blobs() -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 6))
    return centres[np.arange(80) % 4] + 0.05 * rng.normal(size=(80, 6))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shift", SHIFTS)
def test_powers_of_two_change_nothing(way, shift):
    values = blobs()
    base = np.ldexp(values, -int(np.frexp(np.abs(values).max())[1]))
    plain = cs.latent_classes(base, method="kmeans", n_classes=4, **WAYS[way])
    far = cs.latent_classes(np.ldexp(values, shift), method="kmeans", n_classes=4, **WAYS[way])
    assert np.array_equal(plain.codes, far.codes)
    assert far.codes.max() == 3


@pytest.mark.parametrize("factor", [1e18, 1e19, 1e38, 1e200, 1e-30, 1e-200])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["kmeans", "graph"])
def test_blobs_are_found_at_any_size(factor, way, method):
    if method == "graph":
        pytest.importorskip("leidenalg")
    known = {"n_classes": 4} if method == "kmeans" else {"graph_neighbours": 5}
    found, plain = (
        cs.latent_classes(rows, method=method, **known, **WAYS[way])
        for rows in (blobs() * factor, blobs())
    )
    assert class_agreement(found.codes, plain.codes)["nmi"] > 0.99
    assert np.isfinite(found.score).all()


def test_float32_rows_at_their_limit_do_not_end_the_process():
    code = (
        "import numpy as np, contrasift as cs\n"
        "z = (np.random.default_rng(0).normal(size=(200, 8)) * 1e19).astype(np.float32)\n"
        "found = cs.latent_classes(z, method='kmeans', n_classes=5, whiten=0, metric='euclidean')\n"
        "print(found.codes.max())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.strip() == "4"


@pytest.mark.parametrize("way", WAYS)
def test_new_rows_are_assigned_on_the_scale_of_the_old(way):
    values = blobs() * 1e100
    found = cs.latent_classes(values, method="kmeans", n_classes=4, **WAYS[way])
    assigner = fit_assigner(values, found.codes, 4, **WAYS[way])
    assert assigner.agreement() == 1
    assert np.array_equal(assigner.classes_of(values)[0], found.codes)


def test_what_float32_cannot_hold_beside_the_old_rows_is_refused():
    values = blobs()
    assigner = fit_assigner(values, np.arange(80) % 4, 4, **WAYS["euclidean"])
    with pytest.raises(DataError, match="float32 can hold"):
        assigner.classes_of(values * 1e60)


def test_rows_of_very_different_lengths_have_directions():
    values = blobs()
    factors = 10.0 ** np.linspace(-300, 300, 80)
    np.testing.assert_allclose(unit_rows(values * factors[:, None]), unit_rows(values), rtol=1e-6)
    found = cs.latent_classes(
        values * factors[:, None], method="kmeans", n_classes=4, **WAYS["spherical"]
    )
    plain = cs.latent_classes(values, method="kmeans", n_classes=4, **WAYS["spherical"])
    assert np.array_equal(found.codes, plain.codes)
    subnormal = np.full((2, 3), 5e-324)
    np.testing.assert_allclose(unit_rows(subnormal), 3**-0.5, rtol=1e-6)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_still_refused(way, bad):
    values = blobs() * 1e100
    values[7, 2] = bad
    with pytest.raises(DataError, match="row 7"):
        cs.latent_classes(values, method="kmeans", n_classes=4, **WAYS[way])
