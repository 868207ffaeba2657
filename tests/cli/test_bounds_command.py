"""`contrasift bounds`: the advisor's numbers and words, bounds and guarantees of a run, bad input."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from contrasift import cli
from contrasift.cli.bounds import bounds_command

app = typer.Typer(cls=cli._Group)
app.command("bounds")(bounds_command)
app.callback()(lambda: None)


def bounds(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["bounds", *(str(part) for part in arguments)])
    assert "Traceback" not in result.output
    assert result.exit_code == code, result.output
    return result


def answer(*arguments: object) -> dict:
    return json.loads(bounds(*arguments, "--json").stdout)


def words(*arguments: object) -> str:
    return " ".join(bounds(*arguments).stdout.split())


@pytest.mark.parametrize(
    ("classes", "mean", "rounded"),
    [(10, 29.2896825, "30"), (100, 518.7377518, "519"), (1000, 7485.4708606, "7,486")],
)
def test_expected_draws(classes: int, mean: float, rounded: str) -> None:
    # C·H_C: docs/mathematics.md#seeing-all-classes
    assert answer("--classes", classes)["expected_draws"] == pytest.approx(mean, abs=5e-8)
    assert f"so K+1 = {rounded};" in words("--classes", classes)


def test_every_number_at_full_precision() -> None:
    found = answer("--classes", 10, "--batch-size", 32)
    assert found["negatives"] == 31
    assert found["draws"] == 32
    assert found["coverage_probability"] == pytest.approx(0.6909756324468201, rel=1e-12)
    assert found["collision_probability"] == pytest.approx(1 - 0.9**31, rel=1e-13)
    assert found["expected_collisions"] == pytest.approx(3.1)
    assert found["expected_log_collisions"] == pytest.approx(1.3169, abs=5e-5)
    assert found["expected_log_collisions_bound"] == pytest.approx(math.log(4.1))
    assert found["draws_to_cover"] == {"0.5": 27, "0.95": 51, "0.99": 66}
    assert [row["negatives"] for row in found["familiar"]] == [255, 65_536]


def test_beyond_the_float_range() -> None:
    found = answer("--classes", 1000, "--negatives", 999)
    assert found["coverage_probability"] == 0
    # C!/C^C at C = 1,000 is 10^-432.4: docs/mathematics.md#seeing-all-classes
    assert found["log_coverage_probability"] / math.log(10) == pytest.approx(-432.39536, abs=1e-5)
    assert "4.02e-433" in words("--classes", 1000, "--negatives", 999)
    assert answer("--classes", 1000)["log_coverage_probability"] is None


def test_what_a_batch_and_a_queue_are_worth() -> None:
    text = words("--classes", 1000, "--negatives", 65536)
    assert "with 50 % after 7,274, with 95 % after 9,874" in text
    assert "K = 65,536 negatives" in text
    assert "no longer help" in text
    assert "K = 255 negatives" in text
    assert "Fewer examples than classes" in text
    assert "Some batches hold all classes" in words("--classes", 100, "--batch-size", 512)


def test_priors_from_a_file() -> None:
    Path("priors.txt").write_text("0.5, 0.3\n0.2\n")
    np.save("priors.npy", [0.5, 0.3, 0.2])
    text = answer("--priors", "priors.txt", "--negatives", 3)
    assert text == answer("--priors", "priors.npy", "--negatives", 3, "--classes", 3)
    assert text["expected_draws"] == pytest.approx(6.654762, abs=5e-7)
    assert text["collision_probability"] == pytest.approx(0.7322)
    assert not text["uniform"]
    assert "classes of different sizes" in words("--priors", "priors.txt")


def test_counts_are_drawn_without_replacement() -> None:
    Path("counts.txt").write_text("100 " * 100)
    found = answer("--counts", "counts.txt", "--batch-size", 512)
    # CIFAR-100's test images: .597, with replacement .553: docs/mathematics.md#seeing-all-classes
    assert found["coverage_probability"] == pytest.approx(0.597, abs=5e-4)
    assert not found["replacement"]
    assert [row["negatives"] for row in found["familiar"]] == [255]


def test_the_plot_needs_no_network() -> None:
    bounds("--classes", 10, "--plot", "plot.html")
    page = Path("plot.html").read_text()
    assert "υ: every class is seen" in page or "\\u03c5: every class is seen" in page
    assert 'src="http' not in page


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "--classes, --priors, --counts or a run folder"),
        (["--classes", 0], 2, ""),
        (["--classes", 10, "--negatives", 0], 2, "at least one negative"),
        (["--classes", 10, "--batch-size", 1], 2, "at least one negative"),
        (["--classes", 10, "--negatives", 3, "--batch-size", 4], 2, "both"),
        (["--classes", 10, "--selection"], 2, "a run folder"),
        (["--priors", "short.txt"], 1, "sum to one"),
        (["--priors", "zero.txt"], 1, "above 0"),
        (["--priors", "words.txt"], 1, "numbers in words.txt"),
        (["--priors", "absent.txt"], 1, "absent.txt"),
        (["--counts", "short.txt"], 1, "whole numbers"),
        (["--counts", "few.txt", "--negatives", 9], 2, "at most the 5 draws"),
        (["--counts", "few.txt", "--priors", "few.txt"], 2, "both"),
        (["--priors", "half.txt", "--classes", 3], 2, "3 numbers"),
        (["nowhere"], 1, "a run folder"),
        (["nowhere", "--classes", 3], 2, "both"),
    ],
)
def test_mistakes_are_explained(arguments: list, code: int, message: str) -> None:
    Path("short.txt").write_text("0.5 0.4")
    Path("half.txt").write_text("0.5 0.5")
    Path("zero.txt").write_text("1 0")
    Path("words.txt").write_text("one half")
    Path("few.txt").write_text("3 2")
    said = " ".join(bounds(*arguments, code=code).output.split())
    assert message in said


TINY = [
    "--limit", "300", "--epochs", "1", "--proxy-epochs", "1", "--views", "2", "--batch-size", "60",
    "--projection-dim", "16", "--quiet",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one trained encoder and a selection."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    for arguments in (
        ["embed", "digits", *TINY, "--out", folder],
        ["classes", folder, "--quiet", "--restarts", "1", "--n-classes", "4"],
        ["select", folder, "--quiet", "--fraction", "0.4"],
        ["train", folder, "--quiet", "--subset", "selected"],
    ):
        result = CliRunner().invoke(cli.app, [str(part) for part in arguments])
        assert result.exit_code == 0, result.output
    return folder


@pytest.mark.slow
def test_bounds_of_a_run(trained: Path) -> None:
    found = json.loads(bounds(trained, "--json").stdout)
    (encoder,) = found["encoders"]
    assert encoder["n_classes"] == 10
    assert [row["draws"] for row in encoder["rows"]] == [32, 64, 128, 256, 512]
    for row in encoder["rows"]:
        # Exact for the measured law, so that only the sampling error of L_Info may violate them.
        slack = 4 * row["standard_errors"]["loss"]
        assert row["contrastive_loss"] >= row["lower_bounds"]["nozawa-sato"] - slack
        assert row["contrastive_loss"] >= row["lower_bounds"]["arora"] - slack
        assert row["collision_loss"] <= row["collision_loss_bound"]
        upper = row["upper_bounds"]["nozawa-sato"]["value"]
        assert upper >= row["supervised"] - 2 * slack / row["coverage_probability"]
    assert 0 < encoder["accuracy"]["linear"] <= 1
    assert json.loads((trained / "bounds.json").read_text()) == found
    assert 'src="http' not in (trained / "bounds.html").read_text()
    text = words(trained)
    assert "selected, seed 0: 10 classes" in text
    assert "estimates for unseen ones" in text


@pytest.mark.slow
def test_guarantee_of_a_selection(trained: Path) -> None:
    found = json.loads(bounds(trained, "--selection", "--json").stdout)
    classes = found["promise"]["classes"]
    assert len(classes) == 4
    for part in classes:
        assert part["center_shift"] <= part["nu_div"]
        assert part["alignment"] <= part["alignment_bound"]
        assert 0 < part["kept"] < part["size"]
    constants = found["promise"]["constants"]
    for p, rho in zip(constants["shares"], constants["rho"], strict=True):
        reach = constants["delta"] + 2 * constants["epsilon"]
        expected = 2 * (1 - constants["sigma"]) + constants["misaligned"] / p
        assert rho == pytest.approx(expected + constants["sigma"] * reach)
    text = words(trained, "--selection")
    for name in ("theorem 4.1:", "theorem 4.3:", "theorem 4.3, safe ρ:", "R_ε", "errs low"):
        assert name in text
    # Never an unqualified promise.
    assert "holds" not in text
    assert (trained / "guarantee.html").is_file()


@pytest.mark.slow
def test_nothing_trained_yet(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["embed", "digits", *TINY, "--out", "run"])
    assert result.exit_code == 0, result.output
    assert "contrasift train run" in bounds("run", code=1).output
    assert "contrasift select run" in bounds("run", "--selection", code=1).output
