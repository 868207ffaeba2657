"""Embeddings in the formats that people have, as rows with ids: `open_embeddings`."""

from contrasift.matrices.copying import mapped_copy
from contrasift.matrices.matrix import Matrix
from contrasift.matrices.opening import open_embeddings
from contrasift.matrices.skipping import LeftOut, leave_out_bad
from contrasift.matrices.tables import source_tables

__all__ = ["LeftOut", "Matrix", "leave_out_bad", "mapped_copy", "open_embeddings", "source_tables"]
