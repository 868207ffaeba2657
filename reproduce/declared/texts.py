"""What is shown of `contrasift text --bounds`: arXiv 2102.06866 on texts.

Its trainings are no cells, so that neither of these is in the catalogue: nothing plans them.
"""

from __future__ import annotations

from reproduce.declared.bounds import BOUNDS, NUMBER_OF_NEGATIVES
from reproduce.declared.declaring import Claim, Experiment

TEXT_BOUNDS = Experiment(
    name="text-bounds",
    title="The same bounds on texts",
    shows="arXiv 2102.06866 on texts: every term of both bounds against K + 1",
    arms={"SimCLR": {}},
    reference="SimCLR",
    axes={"K + 1": {}},
    metrics=(
        "linear",
        "head.mean_classifier",
        *(metric for metric in BOUNDS.metrics if metric.startswith("bounds.")),
    ),
    line="K + 1",
    claims=BOUNDS.claims[:3],
)

_TEXT_FEW, _TEXT_USUAL, _TEXT_MANY = (f"batches of {size}" for size in (16, 64, 256))

TEXT_BATCHES = Experiment(
    name="text-batches",
    title="Whether many negatives hurt, on texts",
    shows="the same encoders beside one another",
    arms={name: {} for name in (_TEXT_FEW, _TEXT_USUAL, _TEXT_MANY)},
    reference=_TEXT_USUAL,
    metrics=("linear", "head.mean_classifier"),
    claims=(
        Claim(
            NUMBER_OF_NEGATIVES.claims[0].text,
            {_TEXT_MANY: 1, _TEXT_FEW: -1},
            ("linear", "head.mean_classifier"),
            margin=-1.0,
            source=NUMBER_OF_NEGATIVES.claims[0].source,
        ),
        *(
            Claim(
                claim.text,
                {_TEXT_MANY: sign, _TEXT_USUAL: -sign},
                claim.metrics,
                margin=claim.margin,
                source=claim.source,
            )
            for claim, sign in zip(NUMBER_OF_NEGATIVES.claims[-2:], (1, -1), strict=True)
        ),
    ),
)
