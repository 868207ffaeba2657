"""The selector behaves as scikit-learn's estimators do, and selects as `contrasift.select` does."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted

import contrasift as cs


@pytest.fixture
def pool(rng):
    return np.abs(rng.standard_normal((90, 7))), rng.integers(0, 3, 90)


NO_DIRECTION = {
    "check_estimators_dtypes": "its random integers hold a row of zeros, which has no direction and "
    "cannot be scaled to length one"
}


@pytest.mark.parametrize(("normalize", "excused"), [("none", {}), ("rows", NO_DIRECTION)])
def test_scikit_learn_s_own_checks_pass(normalize, excused):
    selector = cs.AugmentationSimilaritySelector(normalize=normalize, threads=1)
    results = check_estimator(selector, on_skip=None, on_fail=None, expected_failed_checks=excused)
    bad = {one["check_name"]: one["exception"] for one in results if one["status"] == "failed"}
    assert bad == {}
    assert [one["check_name"] for one in results if one["status"] == "xfail"] == list(excused)
    passed = {one["check_name"] for one in results if one["status"] == "passed"}
    assert {
        "check_fit_idempotent",
        "check_estimators_pickle",
        "check_estimators_nan_inf",
        "check_n_features_in",
        "check_fit2d_1sample",
        "check_readonly_memmap_input",
    } <= passed


@pytest.mark.parametrize("with_classes", [False, True])
@pytest.mark.parametrize("objective", ["sas", "k-center", "random", "herding"])
def test_selects_what_select_selects(pool, objective, with_classes):
    values, classes = pool[0], pool[1] if with_classes else None
    fitted = cs.AugmentationSimilaritySelector(0.3, objective=objective).fit(values, classes)
    expected = cs.select(values, classes, fraction=0.3, objective=objective)
    np.testing.assert_array_equal(fitted.indices_, expected.indices)
    np.testing.assert_array_equal(fitted.ranking_, expected.ranking)
    np.testing.assert_array_equal(np.flatnonzero(fitted.support_), expected.indices)
    assert fitted.support_.shape == (90,)
    assert fitted.certificate_ == expected.certificate
    assert fitted.n_features_in_ == 7


def test_a_budget_replaces_the_fraction(pool):
    grid = ParameterGrid({"budget": np.array([3, 8]), "redundancy": np.linspace(0.5, 1, 2)})
    for chosen in grid:
        fitted = cs.AugmentationSimilaritySelector().set_params(**chosen).fit(pool[0])
        assert fitted.indices_.size == chosen["budget"]
        assert fitted.selection_.redundancy == chosen["redundancy"]


def test_clones_and_parameters(pool):
    selector = cs.AugmentationSimilaritySelector(0.4, objective="centre", threads=1)
    fitted = selector.fit(*pool)
    copy = clone(fitted)
    assert copy.get_params() == selector.get_params()
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        check_is_fitted(copy)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(fitted)).indices_, copy.fit(*pool).indices_
    )
    assert repr(selector) == (
        "AugmentationSimilaritySelector(fraction=0.4, objective='centre', threads=1)"
    )


@pytest.mark.parametrize("scaler", [StandardScaler(), Normalizer()])
def test_is_the_last_step_of_a_pipeline(pool, scaler):
    values, classes = pool
    pipeline = make_pipeline(scaler, cs.AugmentationSimilaritySelector(fraction=0.2))
    fitted = pipeline.fit(values, classes)[-1]
    expected = cs.select(scaler.fit_transform(values), classes, fraction=0.2)
    np.testing.assert_array_equal(fitted.indices_, expected.indices)
    changed = clone(pipeline).set_params(augmentationsimilarityselector__fraction=0.5)
    assert changed.fit(values)[-1].indices_.size == 45


def test_is_no_step_in_the_middle(pool):
    pipeline = Pipeline([("select", cs.AugmentationSimilaritySelector()), ("after", Normalizer())])
    with pytest.raises(TypeError, match="transform"):
        pipeline.fit(pool[0])


def test_names_of_columns_and_of_classes(pool):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(pool[0], columns=list("abcdefg"))
    names = pandas.Series(pool[1]).map({0: "cat", 1: "dog", 2: "fish"})
    fitted = cs.AugmentationSimilaritySelector().fit(frame, names)
    assert fitted.feature_names_in_.tolist() == list("abcdefg")
    assert {part.name for part in fitted.selection_.classes} == {"cat", "dog", "fish"}
    assert fitted.indices_.size == frame.iloc[fitted.indices_].shape[0]


def test_random_state(pool):
    def chosen(state):
        selector = cs.AugmentationSimilaritySelector(objective="random", random_state=state)
        return selector.fit(pool[0]).indices_.tolist()

    assert chosen(None) == chosen(0) == chosen(np.int64(0))
    assert chosen(1) != chosen(0)
    assert chosen(np.random.RandomState(5)) == chosen(np.random.RandomState(5))


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"fraction": 1.5}, "fraction= in"),
        ({"objective": "coverge"}, "Did you mean coverage"),
        ({"budget": 91}, "budget between 0 and the 90"),
    ],
)
def test_bad_parameters_are_said_in_fit(pool, parameters, match):
    selector = cs.AugmentationSimilaritySelector(**parameters)
    with pytest.raises(ValueError, match=match):
        selector.fit(pool[0])


def test_importing_contrasift_does_not_import_scikit_learn():
    code = "import sys, contrasift; print('sklearn' in sys.modules, 'numba' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]
