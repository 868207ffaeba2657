"""What the analysis of negatives says: in sentences, tables, curves and pairs of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from contrasift.narration import NO_NUMBER, shown
from contrasift.report.words import small_percent

if TYPE_CHECKING:
    from contrasift.negatives.profiles import Profile
    from contrasift.report.negatives import ImagePair, NegativesPage

LABEL, LATENT, BOTH, DEPTH = "same class", "same latent class", "both", "WordNet depth"
AGREED = "same latent class twice"
_LATENT_NOTES = {
    "own": "Latent classes: k-means on these very vectors, which also decide what is hard: look-alikes count as false, and the share errs upwards. ",
    "run": "Latent classes: those of the run, found by another encoder; look-alikes of both still count as false. ",
}
_AGREED_NOTE = (
    "Where two encoders agree fewer look-alikes are left: the better estimate, which can err "
    "either way."
)


def negative_sentences(result: Mapping[str, Any]) -> list[str]:
    """What the numbers say, most important first."""
    tests, found = result["hardest_5_percent_against_the_rest"], []
    if LABEL in tests:
        test = tests[LABEL]
        found.append(
            f"Of the hardest 5 % of negatives {small_percent(test['hard']['mean'])} share the query's "
            f"class, of the rest {small_percent(test['rest']['mean'])} (p = {shown(test['p'], '.1e')})."
        )
    policy, reason = result["suggestion"]["policy"], result["suggestion"]["reason"]
    found.append(
        f"Suggestion: drop nothing; {reason}."
        if policy == "all"
        else f'Suggestion: --negatives "{policy}"; {reason}.'
    )
    found.append(
        'What no band can do: --negatives "~same_latent_class" leaves out the query\'s whole latent '
        "class, easy ones too; what that was worth: the page Negatives of the documentation."
    )
    if DEPTH in tests:
        test = tests[DEPTH]
        found.append(
            f"The deepest common WordNet kind lies at depth {test['hard']['mean']:.2f} for the "
            f"hardest 5 % and {test['rest']['mean']:.2f} for the rest (p = {shown(test['p'], '.1e')})."
        )
    steady = result["consistency"][0]
    found.append(
        f"How often a negative is hard varies {steady['sd'] / steady['expected_sd']:.1f} times as "
        f"much as by chance (Cochran's Q, p = 10^{steady['log10_p']:.0f})."
    )
    bands = result["bands"]
    if "0-5" in bands:
        found.append(
            f"The easiest 5 % have a mean cosine of {bands['0-5']['similarity']:.3f}, the hardest "
            f"5 % of {bands['95-100']['similarity']:.3f}."
        )
    return found


def negatives_page(
    result: Mapping[str, Any],
    measures: Sequence[str],
    profiles: Sequence[Profile],
    pairs: Sequence[ImagePair],
) -> NegativesPage:
    """The page of one encoder, from its numbers and what they were made of.

    Args:
        result: the numbers, as they are kept.
        measures: names of what was measured.
        profiles: one a replicate.
        pairs: the likeliest false negatives.
    """
    from contrasift.negatives.contrasts import consistency
    from contrasift.negatives.profiles import shape_over_difficulty
    from contrasift.report.negatives import DifficultyCurve, NegativesPage

    titles = {"similarity": "mean cosine", LABEL: "share of the same class"}
    titles |= {LATENT: "share of the same latent class", DEPTH: "depth of the deepest common kind"}
    curves = []
    for name in measures:
        shape = shape_over_difficulty(profiles, name)
        curves.append(
            DifficultyCurve(
                titles[name],
                *(
                    [] if part is None else part.tolist()
                    for part in (shape.percentile, shape.mean, shape.low, shape.high)
                ),
            )
        )
    steady = consistency(profiles[0])
    return NegativesPage(
        title=f"Negatives of {result['encoder']}",
        summary=[*result["sentences"], *result["notes"]],
        curves=curves,
        hard_shares=steady.shares.tolist(),
        shuffled_shares=steady.shuffled.tolist(),
        tables=_tables(result, measures),
        pairs=list(pairs),
    )


def _tables(result: Mapping[str, Any], measures: Sequence[str]) -> list[Any]:
    from contrasift.report.negatives import TextTable, band_table

    def cell(name: str, value: float) -> str:
        return f"{value:.3f}" if name in ("similarity", DEPTH) else small_percent(value)

    tables = [
        band_table(
            "Bands", result, "percentiles of difficulty", {name: name for name in measures}, cell
        ),
        TextTable(
            "The hardest 5 % against the rest",
            ["measure", "hardest 5 %", "rest", "t", "p", "difference", "95 % interval", "p"],
            [
                [
                    name,
                    cell(name, test["hard"]["mean"]),
                    cell(name, test["rest"]["mean"]),
                    shown(test["t"], ".1f"),
                    shown(test["p"], ".1e"),
                    shown(test["difference"], ".4g"),
                    f"{shown(test['low'], '.4g')} to {shown(test['high'], '.4g')}",
                    shown(test["bootstrap_p"], ".1e"),
                ]
                for name, test in result["hardest_5_percent_against_the_rest"].items()
            ],
            "First an unpaired t-test between the means of the draws, then a bootstrap over queries.",
        ),
    ]
    if "false_negatives" in result:
        rows = []
        for item in result["false_negatives"]:
            numbers = (item[key] for key in ("estimate", "agreed", "truth", "precision", "recall"))
            low, high = item["band"]
            rows.append(
                [
                    f"{low:g}-{high:g}",
                    *(NO_NUMBER if x is None else small_percent(x) for x in numbers),
                ]
            )
        tables.append(
            TextTable(
                "False negatives, estimated without labels",
                [
                    "percentiles",
                    "same latent class",
                    "two encoders agree",
                    "same class",
                    "precision",
                    "recall",
                ],
                rows,
                "Precision: of those with the query's latent class, the share with its class; recall the other way round. "
                + _LATENT_NOTES[result["latent_classes"]]
                + _AGREED_NOTE,
            )
        )
    pairs = result.get("class_pairs", {})
    for key, title in (
        ("most_correlated", "Most correlated classes"),
        ("most_anticorrelated", "Most anti-correlated classes"),
        ("most_orthogonal", "Most orthogonal classes"),
    ):
        if pairs.get(key):
            tables.append(
                TextTable(
                    title,
                    ["query's class", "negative's class", "mean cosine", "pairs of examples"],
                    [
                        [
                            pair["query"],
                            pair["negative"],
                            f"{pair['similarity']:.4g}",
                            f"{pair['count']:,}",
                        ]
                        for pair in pairs[key]
                    ],
                    f"Of {pairs['pairs']:,} pairs of different classes with at least {pairs['at_least']} pairs of examples.",
                )
            )
    return tables
