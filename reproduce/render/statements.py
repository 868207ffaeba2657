"""The main statements of the index: each is a claim of an experiment in one setting.

Only the words stand here; whether a statement holds, and by how much, comes from the cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reproduce.declared.catalogue import EXPERIMENTS
from reproduce.render.claims import Decided


@dataclass(frozen=True)
class Statement:
    """A claim in plain words.

    Attributes:
        text: what would be so if it holds.
        place: where it was measured, in words.
        experiment: whose claim it is.
        claim: the claim's own words.
        setting: labels of the setting; axes that are not named have their only label, and options
            that were changed with `--set` are named.
        metrics: by which; all of the claim's where none is named.
    """

    text: str
    place: str
    experiment: str
    claim: str
    setting: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()

    def among(self, decided: Iterable[Decided]) -> list[Decided]:
        """What is decided of it."""
        return [one for one in decided if self._is_about(one)]

    def _is_about(self, one: Decided) -> bool:
        if (one.experiment.name, one.claim.text) != (self.experiment, self.claim):
            return False
        declared = {"pool", *EXPERIMENTS[self.experiment].axes}
        settled = all(
            self.setting.get(axis, label if axis in declared else None) == label
            for axis, label in one.setting.items()
        )
        named = self.setting.keys() <= one.setting.keys()
        return settled and named and (not self.metrics or one.metric in self.metrics)


_GLYPHS = {"pool": "glyphs"}
_FASHION = {"pool": "fashion-mnist"}
_SIMCLR = {**_GLYPHS, "fraction": "0.2", "method": "simclr"}
_MOCO = {
    **_GLYPHS,
    "match": "epochs",
    "fraction": "0.2",
    "train.method": "moco",
    "train.temperature": "0.2",
    "embed.proxy_method": "simclr",
}

STATEMENTS = (
    Statement(
        "A fifth chosen without labels beats a random fifth",
        "glyphs, SimCLR, as many steps as the full pool",
        "goal",
        "SAS without labels beats random",
        _SIMCLR,
    ),
    Statement(
        "It does as well as the full pool, within a point",
        "glyphs, SimCLR, as many steps as the full pool",
        "goal",
        "SAS without labels does as well as the full pool, within a point",
        _SIMCLR,
    ),
    Statement(
        "A fifth chosen without labels beats a random fifth for MoCo v2",
        "glyphs, equal epochs",
        "steps",
        "SAS without labels beats random",
        _MOCO,
    ),
    Statement(
        "A fifth chosen with true classes beats a random fifth per class",
        "glyphs, SimCLR, 20 epochs",
        "headroom",
        "SAS with true classes beats random per class",
        {**_GLYPHS, "epochs": "20"},
    ),
    Statement(
        "A fifth chosen with true classes beats a random fifth per class on clothes",
        "Fashion-MNIST, SimCLR, 20 epochs",
        "headroom",
        "SAS with true classes beats random per class",
        {**_FASHION, "epochs": "20"},
    ),
    Statement(
        "Latent classes from a graph, without labels, are good enough to beat random per class",
        "glyphs",
        "classes",
        "SAS beats random per class with classes from a graph, without labels",
        _GLYPHS,
    ),
    Statement(
        "Latent classes from k-means are good enough to beat random per class",
        "glyphs",
        "classes",
        "SAS beats random per class with classes from k-means",
        _GLYPHS,
    ),
    Statement(
        "Three fifths chosen without labels exceed the full pool",
        "glyphs, equal epochs",
        "fractions",
        "For as many epochs what SAS chooses without labels exceeds the full pool",
        {**_GLYPHS, "fraction": "0.6"},
    ),
    Statement(
        "With 417 classes a fifth chosen without labels beats a random fifth",
        "glyphs-many, equal epochs",
        "many-classes",
        "SAS without labels beats random",
        {"pool": "glyphs-many", "encoder": "as usual"},
    ),
    Statement(
        "Redundancy must cost less where more is kept: λ = 1/(4f) beats λ = 1",
        "glyphs, two fifths, classes from a graph",
        "lambda",
        "Half of the λ at which gains turn beats λ = 1",
        {**_GLYPHS, "fraction": "0.4", "classes": "graph"},
    ),
    Statement(
        "A proxy trained for a tenth of its epochs selects as well, without labels",
        "glyphs, within a point",
        "proxies",
        "Without labels a tenth of its epochs selects as well as a proxy in full, within a point",
        _GLYPHS,
    ),
    Statement(
        "Of a pool that is half junk a fifth chosen without labels beats a random fifth",
        "glyphs",
        "uncurated",
        "SAS without labels beats random",
        {**_GLYPHS, "pool is": "half junk"},
    ),
    Statement(
        "What supervised models forget least serves contrastive learning better than what they "
        "forget most",
        "glyphs",
        "forgettable",
        "The least forgettable beat the most forgettable: what is hard for supervised learning "
        "serves contrastive learning least",
        _GLYPHS,
    ),
    Statement(
        "Leaving out negatives of the query's class gives more than a point",
        "glyphs, MoCo v2, temperature 0.07",
        "policies",
        "Leaving out the query's class gives more than a point",
        {**_GLYPHS, "temperature": "0.07"},
    ),
    Statement(
        "Leaving out the query's latent class, without labels, recovers half of that",
        "glyphs, MoCo v2, temperature 0.07",
        "policies",
        "A label-free policy recovers half of what removing the same class gives: "
        "without the query's community",
        {**_GLYPHS, "temperature": "0.07"},
    ),
    Statement(
        "Chosen examples with chosen negatives beat random ones with all negatives",
        "glyphs, MoCo v2, the query's community left out",
        "selection-and-negatives",
        "Both together are better than neither",
        {**_GLYPHS, "left out": "community"},
    ),
    Statement(
        "The hardest 5 % of the negatives are as good as all, within a point",
        "glyphs, MoCo v2",
        "negative-bands",
        "The hardest 5 % alone are as good as all, within a point",
        _GLYPHS,
    ),
    Statement(
        "Hard negatives are of the query's class more often than others",
        "glyphs, MoCo v2",
        "difficulty",
        "Hard negatives are of the query's class more often than others",
        _GLYPHS,
    ),
    Statement(
        "Nozawa and Sato's lower bound holds",
        "glyphs, K + 1 = 256",
        "bounds",
        "Nozawa and Sato's bound holds",
        {**_GLYPHS, "K + 1": "256"},
    ),
    Statement(
        "Larger batches do not hurt, within a point",
        "glyphs, SimCLR, 512 beside 32",
        "number-of-negatives",
        "Larger batches do not hurt, within a point",
        _GLYPHS,
    ),
)
