"""Negatives for pairs of embeddings: for every query, from a corpus, by policy: `mine`."""

from contrasift.mining.miner import mine
from contrasift.mining.results import Mined

__all__ = ["Mined", "mine"]
