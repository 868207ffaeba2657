from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contrasift.errors import DataError, UsageError
from contrasift.evaluation import (
    evaluate,
    few_label_accuracy,
    few_label_rows,
    knn,
    knn_accuracy,
    linear,
    linear_probe,
    mean_and_interval,
    mean_classifier,
    paired_difference,
    sgd,
    sgd_probe,
    softmax,
)
from contrasift.evaluation.checks import Hits, standardisation, validation_split


def problem(n: int, m: int, d: int, k: int, seed: int = 0, noise: float = 1.0) -> tuple:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(k, d))
    train_y, test_y = rng.integers(0, k, n), rng.integers(0, k, m)
    train_y[:k] = np.arange(k)
    train_x = centres[train_y] + noise * rng.normal(size=(n, d))
    test_x = centres[test_y] + noise * rng.normal(size=(m, d))
    return train_x.astype(np.float32), train_y, test_x.astype(np.float32), test_y


def naive_knn(train_x, train_y, test_x, test_y, k, temperature) -> float:
    def unit(x):
        norm = math.sqrt(sum(float(v) ** 2 for v in x))
        return [float(v) / norm if norm else 0.0 for v in x]

    right = 0
    for x, y in zip(test_x, test_y, strict=True):
        cosines = [sum(a * b for a, b in zip(unit(x), unit(t), strict=True)) for t in train_x]
        near = sorted(range(len(cosines)), key=lambda i: (-round(cosines[i], 6), i))[:k]
        votes: dict[int, float] = {}
        for i in near:
            votes[train_y[i]] = votes.get(train_y[i], 0.0) + math.exp(cosines[i] / temperature)
        right += min(votes, key=lambda c: (-votes[c], c)) == y
    return right / len(test_y)


def naive_mean_classifier(train_x, train_y, test_x, test_y) -> float:
    train = train_x.astype(float) / np.linalg.norm(train_x.astype(float), axis=1, keepdims=True)
    test = test_x.astype(float) / np.linalg.norm(test_x.astype(float), axis=1, keepdims=True)
    classes = sorted(set(train_y.tolist()))
    means = [train[train_y == c].mean(axis=0) for c in classes]
    guesses = [classes[int(np.argmin([np.linalg.norm(x - m) for m in means]))] for x in test]
    return float(np.mean(np.array(guesses) == test_y))


class TestLinearProbe:
    @pytest.mark.parametrize("k", [2, 3, 8])
    def test_agrees_with_a_float64_scikit_learn_pipeline(self, k):
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        train_x, train_y, test_x, test_y = problem(400, 300, 12, k)
        reference = make_pipeline(
            StandardScaler(),
            # For two classes scikit-learn fits one difference w of ours, and ½‖w‖² is twice ½‖W‖².
            LogisticRegression(
                C=(2 if k == 2 else 1) / (0.01 * 400), solver="newton-cg", tol=1e-8, max_iter=1000
            ),
        ).fit(train_x.astype(np.float64), train_y)
        result = linear_probe(train_x, train_y, test_x, test_y, regularisation=0.01)
        assert result.accuracy == pytest.approx(reference.score(test_x, test_y), abs=2 / 300)
        assert result.converged
        assert result.validation == {}
        if k <= 5:
            assert result.top5 is None
        else:
            scores = reference.decision_function(test_x)
            top = [y in np.argsort(-row)[:5] for row, y in zip(scores, test_y, strict=True)]
            assert result.top5 == pytest.approx(np.mean(top), abs=2 / 300)

    def test_chooses_the_regularisation_on_held_out_training_rows(self):
        # Many noise columns for few rows: strong regularisation generalises better.
        train_x, train_y, test_x, test_y = problem(400, 200, 100, 3, noise=8.0)
        result = linear_probe(train_x, train_y, test_x, test_y)
        assert set(result.validation) == set(linear._REGULARISATIONS)
        best = max(result.validation.values())
        assert best > min(result.validation.values())
        ties = [weight for weight, value in result.validation.items() if value == best]
        assert result.regularisation == max(ties)
        fixed = linear_probe(train_x, train_y, test_x, test_y, regularisation=result.regularisation)
        assert fixed.accuracy == result.accuracy

    def test_is_repeatable(self):
        data = problem(300, 100, 10, 4)
        assert linear_probe(*data, seed=3) == linear_probe(*data, seed=3)

    def test_ignores_the_scale_and_shift_of_columns(self):
        train_x, train_y, test_x, test_y = problem(300, 200, 6, 3)
        scale, shift = np.array([1, 100, 0.01, 1, 7, 1]), np.array([0, 5, 0, 30, 0, -2])
        before = linear_probe(train_x, train_y, test_x, test_y, regularisation=0.01)
        after = linear_probe(
            train_x * scale + shift, train_y, test_x * scale + shift, test_y, regularisation=0.01
        )
        assert after.accuracy == pytest.approx(before.accuracy, abs=0.01)

    def test_constant_columns_do_no_harm(self):
        train_x, train_y, test_x, test_y = problem(200, 100, 6, 3)
        constant = np.full((200, 1), 0.1, dtype=np.float32)
        wide_train = np.hstack([train_x, constant])
        wide_test = np.hstack([test_x, constant[:100] + 1])
        with_it = linear_probe(wide_train, train_y, wide_test, test_y, regularisation=0.01)
        without = linear_probe(train_x, train_y, test_x, test_y, regularisation=0.01)
        assert with_it.accuracy == pytest.approx(without.accuracy, abs=0.01)

    def test_direction(self):
        easy = linear_probe(*problem(300, 300, 8, 4, noise=0.2)).accuracy
        hard = linear_probe(*problem(300, 300, 8, 4, noise=5.0)).accuracy
        assert easy > 0.98 > 0.7 > hard > 0.2

    def test_rounding_in_a_constant_column_is_no_deviation(self):
        train = np.full((333, 1), 0.1, dtype=np.float32)
        train[0] = np.nextafter(train[0], np.float32(1))
        _, scale = standardisation(train)
        assert 0 < train.std(dtype=np.float64) < 1e-8
        assert scale.tolist() == [1.0]

    def test_one_class_and_bad_weights(self):
        x = np.ones((3, 2))
        with pytest.raises(DataError, match=r"at least two classes.*only class 7"):
            linear_probe(x, [7, 7, 7], x, [7, 7, 7])
        with pytest.raises(UsageError, match="regularisation above 0"):
            linear_probe(x, [0, 1, 1], x, [0, 0, 1], regularisation=0.0)

    def test_one_example_a_class_takes_the_fallback(self):
        x = np.eye(3)
        result = linear_probe(x, [0, 1, 2], x, [0, 1, 2])
        assert result.accuracy == 1.0
        assert result.regularisation == linear._FALLBACK_REGULARISATION

    def test_validation_split_is_a_fifth_of_every_class(self):
        codes = np.repeat([0, 1, 2], [50, 10, 3])
        fit, judge = validation_split(codes, seed=1, at_most=100)
        assert np.bincount(codes[judge], minlength=3).tolist() == [10, 2, 0]
        assert sorted([*fit, *judge]) == list(range(63))

    @pytest.mark.parametrize("weight", [0.1, 1e-3])
    @pytest.mark.parametrize("k", [2, 5])
    def test_reaches_scikit_learns_optimum_on_correlated_features(self, k, weight):
        from sklearn.linear_model import LogisticRegression

        train_x, train_y, _, _ = problem(2500, 1, 10, k)
        rng = np.random.default_rng(1)
        train_x = train_x @ rng.normal(size=(10, 30)) + 0.05 * rng.normal(size=(2500, 30))
        train_x = ((train_x - train_x.mean(axis=0)) / train_x.std(axis=0)).astype(np.float32)
        fit = softmax.fit_softmax(train_x, train_y, k, weight)
        assert fit.converged
        reference = LogisticRegression(
            C=(2 if k == 2 else 1) / (weight * 2500), solver="newton-cg", tol=1e-9, max_iter=1000
        ).fit(train_x.astype(np.float64), train_y)
        ours = fit.scores(train_x).astype(np.float64)
        ours = np.exp(ours - ours.max(axis=1, keepdims=True))
        ours /= ours.sum(axis=1, keepdims=True)
        theirs = reference.predict_proba(train_x.astype(np.float64))
        np.testing.assert_allclose(ours, theirs, atol=3e-3)
        assert (ours.argmax(axis=1) == theirs.argmax(axis=1)).mean() > 0.998

    def test_the_gradient_is_that_of_the_loss(self):
        train_x, train_y, _, _ = problem(1500, 1, 4, 3)  # two blocks, the second one short
        rng = np.random.default_rng(0)
        weights, bias = rng.normal(size=(4, 3)), rng.normal(size=3)
        loss, gradient = softmax.mean_loss(train_x, train_y, weights, bias)
        scores = train_x.astype(np.float64) @ weights + bias
        logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        assert loss == pytest.approx(-logs[np.arange(1500), train_y].mean(), rel=1e-5)
        wrong = np.exp(logs) - np.eye(3)[train_y]
        wide = np.hstack([train_x, np.ones((1500, 1))])
        np.testing.assert_allclose(gradient, wide.T @ wrong / 1500, atol=1e-6)


class TestSgdProbe:
    def test_is_as_good_as_logistic_regression(self):
        data = problem(600, 400, 12, 7)
        result = sgd_probe(*data)
        assert result.accuracy == pytest.approx(linear_probe(*data).accuracy, abs=0.03)
        assert result.top5 is not None
        assert result.top5 >= result.accuracy
        best = max(result.validation.values())
        assert result.learning_rate == min(r for r, v in result.validation.items() if v == best)

    def test_matches_torchs_sgd(self):
        torch = pytest.importorskip("torch")
        train_x, train_y, _, _ = problem(600, 1, 6, 4)
        fit = sgd.fit_by_sgd(train_x, train_y, 4, 0.5, 5, seed=3)
        layer = torch.nn.Linear(6, 4)
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.5, momentum=0.9)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 4])
        rng = np.random.default_rng(3)
        for _ in range(5):
            order = rng.permutation(600)
            for begin in range(0, 600, 256):
                batch = order[begin : begin + 256]
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(
                    layer(torch.from_numpy(train_x[batch])), torch.from_numpy(train_y[batch])
                ).backward()
                optimizer.step()
            schedule.step()
        np.testing.assert_allclose(fit.weights, layer.weight.detach().numpy().T, atol=1e-4)
        np.testing.assert_allclose(fit.bias, layer.bias.detach().numpy(), atol=1e-4)

    def test_the_rate_falls_after_60_and_80_of_100_epochs(self):
        drops = [sgd.sgd_drops(epoch, 100) for epoch in range(100)]
        assert [drops.index(1), drops.index(2)] == [60, 80]

    @pytest.mark.parametrize(
        ("arguments", "match"),
        [({"learning_rate": 0.0}, "learning rate above 0"), ({"epochs": 0}, "at least one epoch")],
    )
    def test_bad_arguments(self, arguments, match):
        with pytest.raises(UsageError, match=match):
            sgd_probe(*problem(5, 5, 2, 2), **arguments)

    def test_one_class(self):
        with pytest.raises(DataError, match="at least two classes"):
            sgd_probe(np.ones((3, 2)), [7, 7, 7], np.ones((3, 2)), [7, 7, 7])


class TestTopFive:
    def test_hits_count_the_first_and_the_first_five(self):
        rng = np.random.default_rng(0)
        scores, truth = rng.integers(0, 4, (60, 9)).astype(float), rng.integers(0, 12, 60)
        classes = np.array([0, 1, 2, 4, 5, 6, 8, 9, 11])
        hits = Hits(classes)
        hits.add(scores[:25], truth[:25])
        hits.add(scores[25:], truth[25:])
        ranked = [sorted(range(9), key=lambda c: (-row[c], c)) for row in scores]
        top1 = np.mean([classes[r[0]] == y for r, y in zip(ranked, truth, strict=True)])
        top5 = np.mean([y in classes[r[:5]] for r, y in zip(ranked, truth, strict=True)])
        assert (hits.accuracy().top1, hits.accuracy().top5) == (top1, top5)

    def test_none_with_five_classes(self):
        data = problem(60, 20, 4, 5)
        assert knn_accuracy(*data).top5 is None
        assert mean_classifier(*data).top5 is None


class TestKnn:
    @settings(max_examples=40, deadline=None)
    @given(
        n=st.integers(1, 25),
        m=st.integers(1, 8),
        k=st.integers(1, 30),
        temperature=st.sampled_from([0.05, 0.1, 1.0]),
        seed=st.integers(0, 999),
    )
    def test_matches_a_naive_loop(self, n, m, k, temperature, seed):
        train_x, train_y, test_x, test_y = problem(n, m, 3, min(3, n), seed)
        found = knn_accuracy(train_x, train_y, test_x, test_y, k=k, temperature=temperature)
        assert found.top1 == naive_knn(train_x, train_y, test_x, test_y, k, temperature)

    def test_equally_near_rows_come_in_order(self):
        # Six copies of one row: the first three decide, and they are of class 1.
        train = np.ones((6, 2))
        labels = [1, 1, 1, 0, 0, 0]
        assert knn_accuracy(train, labels, np.ones((1, 2)), [1], k=3).top1 == 1.0
        assert knn_accuracy(train, labels[::-1], np.ones((1, 2)), [0], k=3).top1 == 1.0

    def test_equal_votes_go_to_the_lowest_class(self):
        assert knn_accuracy(np.ones((2, 2)), [4, 3], np.ones((1, 2)), [3]).top1 == 1.0

    def test_votes_are_weighted_by_similarity(self):
        train = np.array([[1, 0.0], [0, 1], [0, 1]])
        near_first = np.array([[1.0, 0.2]])
        assert knn_accuracy(train, [0, 1, 1], near_first, [0], k=3, temperature=0.1).top1 == 1.0
        assert knn_accuracy(train, [0, 1, 1], near_first, [1], k=3, temperature=100.0).top1 == 1.0

    def test_blocks_change_nothing(self, monkeypatch):
        data = problem(80, 50, 5, 4)
        whole = knn_accuracy(*data, k=7)
        monkeypatch.setattr(
            knn, "row_blocks", lambda n, size: [slice(i, min(i + 3, n)) for i in range(0, n, 3)]
        )
        assert knn_accuracy(*data, k=7) == whole

    def test_tiny_temperatures_do_not_overflow(self):
        assert 0 <= knn_accuracy(*problem(30, 10, 4, 3), temperature=1e-3).top1 <= 1

    @pytest.mark.parametrize(
        ("arguments", "match"), [({"k": 0}, "k of at least 1"), ({"temperature": 0.0}, "above 0")]
    )
    def test_bad_arguments(self, arguments, match):
        with pytest.raises(UsageError, match=match):
            knn_accuracy(*problem(5, 5, 2, 2), **arguments)


class TestMeanClassifier:
    @pytest.mark.parametrize("seed", range(8))
    def test_matches_a_naive_loop(self, seed):
        data = problem(60, 40, 5, 4, seed)
        assert mean_classifier(*data).top1 == naive_mean_classifier(*data)

    def test_means_are_not_renormalised(self):
        # Class 1's mean is (0, 0.1), class 0's (1, 0): (0.6, 0.8) points at 1 but lies nearer to 0.
        angle = math.acos(0.1)
        train = np.array(
            [
                [1, 0],
                [1, 0],
                [math.sin(angle), math.cos(angle)],
                [-math.sin(angle), math.cos(angle)],
            ]
        )
        test = np.array([[0.6, 0.8]])
        data = (train, np.array([0, 0, 1, 1]), test, np.array([1]))
        assert mean_classifier(*data).top1 == naive_mean_classifier(*data) == 0.0

    def test_equal_distances_go_to_the_lowest_class(self):
        assert mean_classifier(np.eye(2), [5, 2], np.ones((1, 2)), [2]).top1 == 1.0

    def test_only_directions_count(self):
        train_x, train_y, test_x, test_y = problem(60, 40, 5, 4)
        scale = np.random.default_rng(0).uniform(0.1, 10, size=(40, 1))
        assert mean_classifier(train_x, train_y, test_x * scale, test_y) == mean_classifier(
            train_x, train_y, test_x, test_y
        )


class TestEvaluate:
    def test_gathers_the_three(self):
        data = problem(200, 100, 8, 7)
        result = evaluate(*data, seed=2)
        assert result.linear == linear_probe(*data, seed=2).accuracy
        assert result.knn == knn_accuracy(*data).top1
        assert result.mean_classifier == mean_classifier(*data).top1
        top5 = dict(result.details["top5"])
        assert top5.pop("few_labels") == few_label_accuracy(*data, seed=2).top5
        assert top5 == {
            "linear": linear_probe(*data, seed=2).top5,
            "knn": knn_accuracy(*data).top5,
            "mean_classifier": mean_classifier(*data).top5,
        }
        assert result.details["learning_rate"] is None

    def test_by_sgd(self):
        data = problem(200, 100, 8, 7)
        result = evaluate(*data, seed=2, probe="sgd")
        assert result.linear == sgd_probe(*data, seed=2).accuracy
        assert result.details["learning_rate"] in sgd._LEARNING_RATES
        with pytest.raises(UsageError, match="logistic or sgd"):
            evaluate(*data, probe="ridge")

    def test_counts(self):
        data = problem(200, 100, 8, 7)
        result = evaluate(*data, seed=2)
        assert result.details["train"] == 200
        assert result.details["test"] == 100
        assert result.details["classes"] == 7

    def test_a_class_unseen_in_training_is_wrong(self):
        train_x, train_y, test_x, _ = problem(50, 20, 4, 2)
        result = evaluate(train_x, train_y, test_x, np.full(20, 9))
        assert (result.linear, result.knn, result.mean_classifier) == (0.0, 0.0, 0.0)

    def test_random_labels_score_at_chance(self):
        rng = np.random.default_rng(0)
        train_x, _, test_x, _ = problem(1000, 1000, 4, 2)
        result = evaluate(train_x, rng.integers(0, 4, 1000), test_x, rng.integers(0, 4, 1000))
        for accuracy in (result.linear, result.knn, result.mean_classifier):
            assert 0.18 < accuracy < 0.32

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ({0: np.array([[np.nan, 1], [1, 1]])}, "training features of finite"),
            ({2: np.array([[np.inf, 1]])}, "test features of finite"),
            ({1: [0, 1, 2]}, "2 training labels"),
            ({1: [0.5, 1.0]}, "all integers"),
            ({1: [0, -1]}, "1 without one"),
            ({2: np.ones((1, 3))}, "length 2, as in training"),
            ({0: np.zeros((0, 2)), 1: []}, "at least one row"),
        ],
    )
    def test_bad_data(self, change, match):
        data = {0: np.eye(2), 1: [0, 1], 2: np.ones((1, 2)), 3: [0], **change}
        with pytest.raises(DataError, match=match):
            evaluate(data[0], data[1], data[2], data[3])

    def test_dead_features_do_not_fail(self):
        train = np.zeros((6, 3))
        result = evaluate(train, [0, 1] * 3, train, [0, 1] * 3)
        assert (result.linear, result.knn, result.mean_classifier) == (0.5, 0.5, 0.5)


class TestIntervals:
    def test_of_three_values(self):
        # t_{0.975, 2} = 4.302653 (Student's table); s = 0.01, so the reach is 4.302653·0.01/√3.
        result = mean_and_interval([0.80, 0.81, 0.82])
        assert result.mean == pytest.approx(0.81)
        assert result.standard_error == pytest.approx(0.0057735, rel=1e-4)
        assert result.low == pytest.approx(0.81 - 0.0248414, rel=1e-4)
        assert result.high == pytest.approx(0.81 + 0.0248414, rel=1e-4)
        assert result.n == 3

    def test_of_one_value(self):
        result = mean_and_interval([0.5])
        assert (result.mean, result.standard_error, result.low, result.n) == (0.5, None, None, 1)

    def test_paired_differences_drop_what_seeds_share(self):
        seeds = np.array([0.1, 0.5, 0.9])
        result = paired_difference(seeds + 0.02, seeds)
        assert result.mean == pytest.approx(0.02)
        assert result.standard_error == pytest.approx(0.0, abs=1e-12)
        assert paired_difference([1.0], [3.0]).mean == -2.0

    def test_bad_values(self):
        with pytest.raises(DataError, match="at least one value"):
            mean_and_interval([])
        with pytest.raises(DataError, match="all finite"):
            mean_and_interval([1.0, math.nan])
        with pytest.raises(DataError, match="3 and 2 values"):
            paired_difference([1.0, 2.0, 3.0], [1.0, 2.0])


class TestFewLabels:
    def test_so_many_of_every_class_or_all(self):
        labels = np.array([3] * 4 + [7] * 12 + [9])
        for draw in few_label_rows(labels, per_class=5, draws=3, seed=1):
            assert np.unique(draw).size == draw.size
            assert Counter(labels[draw].tolist()) == {3: 4, 7: 5, 9: 1}

    @settings(deadline=None)
    @given(st.integers(0, 60), st.integers(0, 12), st.floats(0, 1), st.integers(0, 99))
    def test_counts_are_those_of_counting(self, n, per_class, share, seed):
        labels = np.random.default_rng(seed).integers(0, 5, n)
        draws = few_label_rows(labels, per_class=per_class, share=share, draws=2, seed=seed)
        for draw in draws:
            assert sorted(set(draw.tolist())) == draw.tolist()
            for label, held in Counter(labels.tolist()).items():
                wanted = max(1, per_class, round(share * held))
                assert (labels[draw] == label).sum() == min(held, wanted)

    def test_a_larger_draw_holds_a_smaller_one_and_draws_differ(self, rng):
        labels = rng.integers(0, 3, 300)
        small, large = (few_label_rows(labels, per_class=n, seed=4) for n in (5, 20))
        assert all(set(a) <= set(b) for a, b in zip(small, large, strict=True))
        assert len({draw.tobytes() for draw in small}) == 5

    def test_every_row_is_drawn_as_often_as_others(self):
        labels = np.zeros(10, dtype=np.int64)
        draws = np.concatenate(few_label_rows(labels, per_class=2, draws=3000))
        assert np.bincount(draws).min() > 500
        assert np.bincount(draws).max() < 700

    def test_it_is_the_mean_of_probes_on_the_rows(self, rng):
        train_y, test_y = rng.integers(0, 7, 200), rng.integers(0, 7, 90)
        centres = rng.normal(size=(7, 6))
        train_x = centres[train_y] + rng.normal(size=(200, 6))
        test_x = centres[test_y] + rng.normal(size=(90, 6))
        probes = [
            linear_probe(train_x[rows], train_y[rows], test_x, test_y, regularisation=1e-3)
            for rows in few_label_rows(train_y, per_class=4, seed=2)
        ]
        found = few_label_accuracy(train_x, train_y, test_x, test_y, per_class=4, seed=2)
        assert found.top1 == pytest.approx(np.mean([probe.accuracy for probe in probes]))
        assert found.top5 == pytest.approx(np.mean([probe.top5 for probe in probes]))
        whole = evaluate(train_x, train_y, test_x, test_y, seed=2, labels_per_class=4)
        assert whole.few_labels == found.top1
        assert evaluate(train_x, train_y, test_x, test_y, labels_per_class=0).few_labels is None

    def test_a_regularisation_is_that_of_the_logistic_probe(self, rng):
        x, y = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
        given = evaluate(x, y, x, y, labels_per_class=0, regularisation=0.5)
        assert given.details["regularisation"] == 0.5
        assert given.linear == linear_probe(x, y, x, y, regularisation=0.5).accuracy
        with pytest.raises(UsageError, match="logistic"):
            evaluate(x, y, x, y, probe="sgd", regularisation=0.5)

    @pytest.mark.parametrize(
        "wrong", [{"per_class": -1}, {"share": 1.5}, {"share": -0.1}, {"draws": 0}]
    )
    def test_numbers_out_of_range(self, wrong):
        with pytest.raises(UsageError, match="at least one draw"):
            few_label_rows(np.zeros(3, dtype=np.int64), **wrong)
