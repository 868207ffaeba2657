"""Experiments on how many negatives: Nozawa and Sato's bounds (arXiv 2102.06866), and what makes them hard."""

from __future__ import annotations

from reproduce.declared.declaring import Claim, Experiment
from reproduce.declared.selection import BOTH, FULL

_SIMCLR = {
    **FULL,
    "train.method": "simclr",
    "train.temperature": 0.5,
    "measure.extras": "bounds,pairs",
}
_BATCHES = (32, 64, 128, 256, 512)
_POOLS = {**BOTH, "paper": ("cifar10", "cifar100")}
# So that the largest batch is there at all when a test takes a few images.
_ENOUGH = {"digits": {"pool.limit": 1000}}
_ACCURACIES = ("linear", "knn", "mean_classifier")

BOUNDS = Experiment(
    name="bounds",
    title="What the contrastive loss says about the supervised one",
    shows="arXiv 2102.06866, Table 2 and its figures: every term of both bounds against K + 1",
    pools=_POOLS,
    by_pool=_ENOUGH,
    axes={"K + 1": {f"{size}": {"train.batch_size": size} for size in _BATCHES}},
    arms={"SimCLR": _SIMCLR},
    reference="SimCLR",
    metrics=(
        *_ACCURACIES,
        "bounds.mean_classifier",
        "bounds.collision",
        "bounds.coverage",
        "bounds.contrastive_loss",
        "bounds.shift",
        "bounds.log_collisions",
        "bounds.supervised_weighted",
        "bounds.partial_weighted",
        "bounds.lower_nozawa_sato",
        "bounds.lower_arora",
        "bounds.same_class_spread",
        "bounds.log_upper_nozawa_sato",
        "bounds.log_upper_arora",
        "bounds.log_upper_nozawa_sato_notebook",
        "bounds.log_upper_arora_notebook",
        "bounds.log_supervised",
        "bounds.log_trivial",
        "pairs.all",
        "pairs.pairs",
        "pairs.pairs_less_all",
    ),
    line="K + 1",
    claims=(
        Claim(
            "Nozawa and Sato's bound holds",
            {"SimCLR": 1},
            ("bounds.gap_nozawa_sato",),
            source="2102.06866, slide: contributions",
        ),
        Claim(
            "Arora's bound, with the right weights, holds",
            {"SimCLR": 1},
            ("bounds.gap_arora",),
            source="2102.06866, slide: a theory",
        ),
        Claim(
            "Nozawa and Sato's bound on L_sup is the smaller one",
            {"SimCLR": 1},
            ("bounds.log_arora_over_nozawa_sato",),
            source="2102.06866, slide: our bound doesn't explode",
        ),
        Claim(
            "A linear classifier that sees two classes at a time (υ = 0) is as good, within a point",
            {"SimCLR": 1},
            ("pairs.pairs_less_all",),
            margin=1.0,
            rule="within",
            source="2102.06866, slide: additional results",
        ),
    ),
)

_QUEUES = (256, 512, 1024, 2048, 4096)
_FEW, _MANY = f"batches of {_BATCHES[0]}", f"batches of {_BATCHES[-1]}"
_SHORT, _LONG = f"a queue of {_QUEUES[0]}", f"a queue of {_QUEUES[-1]}"

NUMBER_OF_NEGATIVES = Experiment(
    name="number-of-negatives",
    title="Whether many negatives hurt",
    shows="the same encoders beside one another; MoCo's queues change K alone, batches the steps too",
    pools=_POOLS,
    by_pool=_ENOUGH,
    arms={
        **{f"batches of {size}": {**_SIMCLR, "train.batch_size": size} for size in _BATCHES},
        **{
            f"a queue of {size}": {
                **FULL,
                "train.method": "moco",
                "train.temperature": 0.2,
                "train.batch_size": 256,
                "train.queue_size": size,
            }
            for size in _QUEUES
        },
    },
    reference="batches of 256",
    metrics=(*_ACCURACIES, "head.mean_classifier", "bounds.supervised"),
    claims=(
        Claim(
            "Larger batches do not hurt, within a point",
            {_MANY: 1, _FEW: -1},
            _ACCURACIES,
            margin=-1.0,
            source="2102.06866, slide: conclusion",
        ),
        Claim(
            "Longer queues do not hurt, within a point",
            {_LONG: 1, _SHORT: -1},
            _ACCURACIES,
            margin=-1.0,
            source="2102.06866, slide: conclusion",
        ),
        Claim(
            "Batches of 32, which never show 62 classes at once (υ = 0), teach as much as those of 256, "
            "within a point",
            {_FEW: 1, "batches of 256": -1},
            ("mean_classifier", "head.mean_classifier"),
            margin=-1.0,
            where={"pool": "glyphs"},
            source="2102.06866, slide: additional results",
        ),
        Claim(
            "Arora's bound on L_sup explodes with K",
            {_MANY: 1, "batches of 256": -1},
            ("bounds.log_upper_arora",),
            source="2102.06866, slide: the bound explodes",
        ),
        Claim(
            "Nozawa and Sato's bound on L_sup does not (ln of it grows by less than 1/4)",
            {"batches of 256": 1, _MANY: -1},
            ("bounds.log_upper_nozawa_sato",),
            margin=-0.25,
            source="2102.06866, slide: our bound doesn't explode",
        ),
    ),
)

_LOOKED_AT = {**FULL, "measure.extras": "difficulty"}
_ONE_CLASS = ("difficulty.same_class_excess",)

DIFFICULTY = Experiment(
    name="difficulty",
    title="What makes negatives hard",
    shows="arXiv 2010.06682, Figs. 4–6 and A.2: classes and WordNet by difficulty; who is always hard",
    pools={"cpu": ("glyphs", "fashion-mnist"), "paper": ("imagenet",)},
    arms={
        "untrained": {**_LOOKED_AT, "arm.trained": False},
        "moco": {**_LOOKED_AT, "train.method": "moco", "train.temperature": 0.2},
        "simclr": {**_LOOKED_AT, "train.method": "simclr", "train.temperature": 0.5},
    },
    reference="untrained",
    metrics=tuple(
        f"difficulty.{name}"
        for name in (
            "same_class",
            "same_class_0_5",
            "same_class_0_50",
            "same_class_90_95",
            "same_class_95_100",
            "same_class_99_100",
            "depth_0_5",
            "depth_0_50",
            "depth_90_95",
            "depth_95_100",
            "similarity_0_5",
            "similarity_95_100",
            "hard_for",
            "hard_for_by_chance",
            "most_correlated",
            "most_anticorrelated",
        )
    ),
    claims=(
        Claim(
            "Hard negatives are of the query's class more often than others",
            {"moco": 1},
            _ONE_CLASS,
            source="2010.06682, Fig. 4",
        ),
        Claim(
            "Training makes them so",
            {"moco": 1, "untrained": -1},
            _ONE_CLASS,
        ),
        Claim(
            "Hard negatives are nearer to the query in WordNet than others",
            {"moco": 1},
            ("difficulty.depth_excess",),
            source="2010.06682, Fig. 4",
        ),
        Claim(
            "The easiest negatives are anti-correlated with the query",
            {"moco": -1},
            ("difficulty.similarity_0_5",),
            source="2010.06682, Fig. 5",
        ),
        Claim(
            "Of the easier half the easiest are nearest to the query in WordNet",
            {"moco": 1},
            ("difficulty.depth_easiest_excess",),
            source="2010.06682, Fig. 5",
        ),
        Claim(
            "The easiest are of the query's class more rarely than all are",
            {"moco": -1},
            ("difficulty.same_class_easiest_excess",),
            source="2010.06682, Fig. 5",
        ),
        Claim(
            "Some negatives are hard for more queries than by chance",
            {"moco": 1},
            ("difficulty.hard_for_excess",),
            source="2010.06682, Fig. 6",
        ),
    ),
)
