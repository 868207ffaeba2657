"""Nearest centroids on Ray: fitted here on a sample, assigned there, block by block."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from contrasift.classes.kmeans import Assigned, assign_block, assigned_blocks
from contrasift.classes.rows import Rows
from contrasift.engines.cluster import Cluster, check_versions, versions_here
from contrasift.engines.files import SharedMatrix, shared_matrix
from contrasift.engines.tasks import in_tasks

_BLOCKS_A_TASK = 4
_NOWHERE = np.empty((0, 0))  # workers read the matrix by themselves


@dataclass(frozen=True)
class RayAssigning:
    """Does what `classes.kmeans.assign` does, in tasks that read the matrix by themselves.

    Attributes:
        cluster: a connected one.
        folder: for a matrix that is no file yet; every node must see it.
    """

    cluster: Cluster
    folder: Path

    def __call__(self, rows: Rows, centroids: np.ndarray) -> Assigned:
        """The nearest centroid of every row, its score, and the sum of squared lengths to it.

        Raises:
            DataError: rows that cannot be used.
        """
        import ray

        n = rows.shape[0]
        matrix = shared_matrix(rows.values, self.folder)
        blocks = assigned_blocks(rows, len(centroids))
        runs = [blocks[i : i + _BLOCKS_A_TASK] for i in range(0, len(blocks), _BLOCKS_A_TASK)]
        shared = ray.put(centroids)
        versions = versions_here()
        calls = (
            (number, (versions, matrix, replace(rows, values=_NOWHERE), run, shared))
            for number, run in enumerate(runs)
        )
        codes, score = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.float32)
        inertia: dict[int, list[float]] = {}
        for number, (own, sure, parts) in in_tasks(assign_blocks, calls, cpus=self.cluster.cpus):
            inside = slice(runs[number][0].start, runs[number][-1].stop)
            codes[inside], score[inside], inertia[number] = own, sure, parts
        shutil.rmtree(self.folder, ignore_errors=True)
        total = 0.0
        for number in range(len(runs)):
            for part in inertia[number]:  # in the order of one process
                total += part
        return codes, score, total


def assign_blocks(
    versions: Mapping[str, str],
    matrix: SharedMatrix,
    how: Rows,
    blocks: Sequence[slice],
    centroids: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Codes and scores of adjacent blocks, and each one's sum of squared lengths.

    Raises:
        DataError: rows that cannot be used.
        ContrasiftError: this worker has other versions.
    """
    check_versions(versions)
    rows = replace(how, values=matrix.open())
    parts = [assign_block(rows, block, np.asarray(centroids)) for block in blocks]
    codes, score = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
    return codes, score, [part[2] for part in parts]
