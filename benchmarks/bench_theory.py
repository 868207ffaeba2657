"""Accuracy and speed of the coupon calculators: a table, and JSON.

Uniform classes are held against 50-digit arithmetic where alternating sums can be done; classes that
all differ are timed, which is the slow case, and must agree with uniform ones in the limit.

Run: python benchmarks/bench_theory.py [--json bench_theory.json]
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import mpmath
import numpy as np

from contrasift.theory.coupon import (
    collision_probability,
    draws_to_cover,
    expected_draws,
    expected_log_collisions,
    log_coverage_probability,
)
from contrasift.theory.urns import Urn, uniform_urn, urn_from_priors

CLASSES = (10, 100, 1_000, 10_000, 100_000)
LIMIT_SECONDS = {1_000: 0.5, 100_000: 10.0}
LIMIT_ERROR = {1_000: 1e-8, 100_000: 1e-6}


def exact_log_coverage(n_classes: int, draws: int) -> float:
    """Σ_m (−1)^m binom(C, m) (1 − m/C)^n, with 60 digits more than cancel."""
    # The largest term is about e^{C e^{−n/C}}; υ itself about one over it.
    digits = int(60 + 2 * n_classes * math.exp(-draws / n_classes) / math.log(10))
    with mpmath.workdps(digits):
        total, factor = mpmath.mpf(0), mpmath.mpf(1)
        for m in range(n_classes):
            term = factor * mpmath.power(1 - mpmath.mpf(m) / n_classes, draws)
            total += term
            if m > 5 and abs(term) < abs(total) * mpmath.mpf(10) ** -55:
                break
            factor = -factor * (n_classes - m) / (m + 1)
        return float(mpmath.log(total))


def exact_log_one_of_each(n_classes: int) -> float:
    """ln(C!/C^C)."""
    with mpmath.workdps(50):
        return float(mpmath.loggamma(n_classes + 1) - n_classes * mpmath.log(n_classes))


def accuracy(n_classes: int) -> list[dict]:
    """Relative errors of υ_n (differences of ln υ_n) from where it is tiny to where it is one."""
    urn, rows = uniform_urn(n_classes), []
    for share in (1.0, 0.75, 1.0, 1.25):
        draws = n_classes if not rows else int(share * n_classes * (math.log(n_classes) + 0.6))
        exact = exact_log_coverage(n_classes, draws) if rows else exact_log_one_of_each(n_classes)
        error = abs(log_coverage_probability(urn, draws) - exact)
        rows.append({"n_classes": n_classes, "draws": draws, "log": exact, "error": error})
    return rows


def speed(n_classes: int) -> dict[str, float]:
    """Seconds of each calculator when no two classes are equally likely."""
    noise = np.random.default_rng(0).gamma(4.0, size=n_classes)
    urn = urn_from_priors(noise / noise.sum())
    calculators: dict[str, Callable[[Urn], object]] = {
        "υ at n = C + 1": lambda u: log_coverage_probability(u, n_classes + 1),
        "υ at n = 3 C": lambda u: log_coverage_probability(u, 3 * n_classes),
        "υ at n = 65,536 or 10 C": lambda u: log_coverage_probability(
            u, max(65_536, 10 * n_classes)
        ),
        "inverse at 50 %": lambda u: draws_to_cover(u, 0.5),
        "inverse at 99 %": lambda u: draws_to_cover(u, 0.99),
        "E[K+1]": expected_draws,
        "τ at 65,536": lambda u: collision_probability(u, 65_536),
        "E ln(Col+1) at 65,536": lambda u: expected_log_collisions(u, 65_536),
    }
    expected_draws(uniform_urn(2))  # load scipy before the clock starts
    seconds = {}
    for name, calculate in calculators.items():
        begun = time.perf_counter()
        calculate(urn)
        seconds[name] = time.perf_counter() - begun
    return seconds


def main() -> None:
    """Print the tables; write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    errors = [row for n_classes in CLASSES for row in accuracy(n_classes)]
    print(f"{'classes':>9} {'draws':>10} {'ln υ':>16} {'relative error':>15}")
    for row in errors:
        print(
            f"{row['n_classes']:>9,} {row['draws']:>10,} {row['log']:>16.6f} {row['error']:>15.1e}"
        )
    times = {n_classes: speed(n_classes) for n_classes in CLASSES}
    print("\nseconds, all classes different")
    print(f"{'':24}" + "".join(f"{n_classes:>10,}" for n_classes in CLASSES))
    for name in times[CLASSES[0]]:
        print(f"{name:24}" + "".join(f"{times[c][name]:>10.3f}" for c in CLASSES))
    for n_classes, limit in LIMIT_SECONDS.items():
        slowest = max(times[n_classes].values())
        worst = max(row["error"] for row in errors if row["n_classes"] <= n_classes)
        print(
            f"{n_classes:,} classes: slowest {slowest:.3f} s (limit {limit} s), largest error "
            f"{worst:.1e} (limit {LIMIT_ERROR[n_classes]:.0e})"
        )
    if arguments.json:
        result = {"errors": errors, "seconds": times}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
