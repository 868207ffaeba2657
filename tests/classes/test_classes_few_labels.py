from __future__ import annotations

import numpy as np
import pytest

from contrasift.classes import latent_classes
from contrasift.classes.few_labels import STRENGTHS, _folds
from contrasift.classes.given import check_known, draw_known
from contrasift.errors import DataError, UsageError


def planted(n: int = 300, k: int = 5, d: int = 10, noise: float = 0.3, seed: int = 0) -> tuple:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % k
    return (np.eye(d)[labels] + noise * rng.normal(size=(n, d))).astype(np.float32), labels


class TestClassifier:
    @pytest.mark.parametrize("whiten", [0, 8])
    def test_few_labels_name_the_rest(self, whiten):
        rows, labels = planted()
        found = latent_classes(
            rows, method="few-labels", labels=labels, label_share=0.1, whiten=whiten
        )
        assert found.facts["labelled"] == 30
        assert found.facts["agreement"]["purity"] > 0.85
        assert found.facts["heldout_accuracy"] > 0.6
        assert len(found.facts["strength_curve"]) == len(STRENGTHS)
        assert ((found.score > 0) & (found.score <= 1)).all()
        # Sure rows are right more often than unsure ones.
        right = found.codes == labels
        sure = found.score > np.median(found.score)
        assert right[sure].mean() >= right[~sure].mean()

    def test_matches_sklearn_on_the_same_rows(self):
        from sklearn.linear_model import LogisticRegression

        rows, labels = planted(200, 4)
        known = np.where(np.arange(200) < 80, labels, -1)
        found = latent_classes(rows, method="few-labels", known=known, whiten=0, metric="euclidean")
        points = rows - rows[:80].mean(axis=0)
        points /= np.sqrt((points[:80] ** 2).mean())
        model = LogisticRegression(C=found.facts["strength"], max_iter=1000, tol=1e-8)
        model.fit(points[:80], labels[:80])
        expected = model.predict_proba(points[80:])
        assert (found.codes[80:] == expected.argmax(axis=1)).mean() > 0.98
        np.testing.assert_allclose(found.score[80:], expected.max(axis=1), atol=2e-3)

    def test_two_classes_and_text(self):
        rows, labels = planted(60, 2)
        known = np.where(np.arange(60) < 20, labels, -1)
        names = ["cat", "dog"]
        found = latent_classes(rows, method="few-labels", known=known, label_names=names, whiten=0)
        assert (found.labels == np.array(names)[labels]).mean() > 0.9
        assert found.score[:20].tolist() == [1.0] * 20

    def test_labelled_rows_keep_their_labels(self):
        rows, labels = planted()
        known = np.full(300, -1)
        known[:40] = (labels[:40] + 1) % 5  # wrong on purpose
        found = latent_classes(rows, method="few-labels", known=known)
        assert (found.codes[:40] == known[:40]).all()

    def test_fewer_labels_than_folds(self):
        rows, labels = planted(30, 2)
        known = np.full(30, -1)
        known[:2] = labels[:2]
        found = latent_classes(rows, method="few-labels", known=known, whiten=0)
        assert "heldout_accuracy" not in found.facts
        assert (found.codes == labels).mean() > 0.8

    def test_repeatable_by_seed(self):
        rows, labels = planted()
        first, again, other = (
            latent_classes(rows, method="few-labels", labels=labels, label_share=0.05, seed=s)
            for s in (1, 1, 2)
        )
        assert (first.codes == again.codes).all()
        assert (first.codes != other.codes).any()


class TestDrawing:
    @pytest.mark.parametrize("share", [0.01, 0.2, 1.0])
    def test_every_label_is_drawn_at_its_share(self, share):
        labels = np.repeat([4, 7, 9], [10, 100, 1])
        codes, values = draw_known(labels, 111, share, 0)
        assert values.tolist() == [4, 7, 9]
        for code, size in enumerate((10, 100, 1)):
            assert (codes == code).sum() == max(1, round(share * size))
        drawn = codes >= 0
        assert (values[codes[drawn]] == labels[drawn]).all()

    def test_folds_hold_out_every_label_once(self):
        targets = np.array([0, 0, 0, 0, 1, 2, 2])
        folds = _folds(targets, 0)
        held = np.concatenate([held for _, held in folds])
        assert sorted(held.tolist()) == list(range(7))
        for learn, held in folds:
            assert np.intersect1d(learn, held).size == 0
            assert np.isin(0, targets[learn])
        assert _folds(targets[:2], 0) == []

    @pytest.mark.parametrize("share", [0.0, 1.1, -0.1, float("nan")])
    def test_bad_shares(self, share):
        with pytest.raises(UsageError, match="a share of labels"):
            draw_known([0, 1], 2, share, 0)


class TestBadInput:
    @pytest.mark.parametrize("method", ["few-labels", "propagate"])
    @pytest.mark.parametrize(
        ("arguments", "error", "match"),
        [
            ({}, UsageError, "a few labels; got none"),
            ({"label_share": 0.1}, UsageError, "a pool without any"),
            ({"known": np.full(6, -1)}, DataError, r"0 label\(s\) of 0 class"),
            ({"known": [3, -1, -1, 3, -1, -1]}, DataError, r"2 label\(s\) of 1 class"),
            ({"known": [0, 1]}, DataError, "one class for each of the 6 examples"),
            (
                {"known": [0, 2, -1, -1, -1, -1], "label_names": list("abcd")},
                DataError,
                "2 of 4 classes without any, the first of them class 1",
            ),
            ({"known": [0, 5, -1, -1, -1, -1], "label_names": list("ab")}, DataError, "class 1"),
        ],
    )
    def test_labels(self, method, arguments, error, match):
        with pytest.raises(error, match=match):
            latent_classes(np.eye(6), method=method, **arguments)

    def test_known_as_text(self):
        codes, values = check_known(np.array(["b", "a", "b"]), 3)
        assert (codes.tolist(), values.tolist()) == ([1, 0, 1], ["a", "b"])

    def test_nan_in_an_unlabelled_row(self):
        rows, labels = planted(30, 2)
        rows[25, 3] = np.nan
        known = np.where(np.arange(30) < 10, labels, -1)
        with pytest.raises(DataError, match="row 25"):
            latent_classes(rows, method="few-labels", known=known, whiten=0)
