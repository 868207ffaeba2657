"""The registry of methods: their names are those of `contrasift.options.METHODS`."""

from __future__ import annotations

from contrasift.training.byol import BYOL
from contrasift.training.decorrelating import BarlowTwins, VICReg
from contrasift.training.method import TwoViews
from contrasift.training.moco import MoCo
from contrasift.training.simclr import SimCLR
from contrasift.training.simsiam import SimSiam

MODULES: dict[str, type[TwoViews]] = {
    "simclr": SimCLR,
    "moco": MoCo,
    "byol": BYOL,
    "simsiam": SimSiam,
    "barlowtwins": BarlowTwins,
    "vicreg": VICReg,
}
