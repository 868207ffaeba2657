"""Pools of Parquet tables with a column of encoded images, as Hugging Face data sets are shared.

An image is `binary`, or a struct with a field `bytes`. A struct's `path` is never opened: a table
from elsewhere must not say which of your files are read.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from io import BufferedReader

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contrasift.errors import DataError
from contrasift.pools.encoded import ShardSource
from contrasift.pools.label_columns import WITHOUT, column_labels, label_column
from contrasift.pools.prepare import UnreadableExample, check_encoded_size
from contrasift.pools.shards import Shard
from contrasift.pools.whole import Whole, check_enough
from contrasift.store.faults import reading_remedy
from contrasift.store.objects import RemoteFile

IMAGE_COLUMNS = ("image", "img", "jpg", "png", "webp")
# Row groups are held as they are read; one more than this is refused, a few smaller ones are kept.
MOST_GROUP_BYTES = 1 << 30
_KEPT_BYTES = 256 << 20
_NO_BYTES = "no bytes in its row: the image is elsewhere, or missing"


class ParquetSource(ShardSource):
    """Images in the rows of Parquet files, a row group at a time.

    Neighbouring rows come from one row group, which is read once and kept for a while; rows in any
    other order read a row group each.

    Args:
        shards: the files.
        files: their metadata.
        column: where the images are.
    """

    def __init__(
        self, shards: Sequence[Shard], files: Sequence[pq.FileMetaData], column: str
    ) -> None:
        super().__init__(shards)
        self._column = column
        self._groups = [(n, g) for n, file in enumerate(files) for g in range(file.num_row_groups)]
        rows = [files[n].row_group(g).num_rows for n, g in self._groups]
        self._starts = np.cumsum([0, *rows])
        self._kept: OrderedDict[int, pa.ChunkedArray] = OrderedDict()
        self._lock = threading.Lock()
        self.look_at_images(every=not isinstance(shards[0].path, RemoteFile))

    def __len__(self) -> int:
        return int(self._starts[-1])

    def image_bytes(self, row: int) -> bytes:
        """The bytes in a row; raises UnreadableExample."""
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        with self._lock:  # the others wait for the row group that they need as well
            values = self._group(group)
        value = values[row - int(self._starts[group])]
        if not value.is_valid:
            raise UnreadableExample(_NO_BYTES)
        check_encoded_size(value.as_buffer().size)
        return value.as_py()

    def _group(self, group: int) -> pa.ChunkedArray:
        if group in self._kept:
            self._kept.move_to_end(group)
            return self._kept[group]
        number, place = self._groups[group]
        shard = self._shards[number]
        try:
            with shard.open() as opened, _parquet(shard, opened) as file:
                if file.metadata.num_row_groups <= place:
                    raise UnreadableExample(f"{shard.name} has changed since it was opened")
                table = file.read_row_group(place, columns=[self._column])
        except (OSError, pa.ArrowException) as error:
            reason = getattr(error, "strerror", None) or str(error).split("\n")[0]
            raise UnreadableExample(f"{shard.name}, row group {place}: {reason}") from error
        if table.num_rows != self._starts[group + 1] - self._starts[group]:
            raise UnreadableExample(f"{shard.name} has changed since it was opened")
        column = table.column(0)
        values = column
        if pa.types.is_struct(column.type):
            values = pc.struct_field(column, "bytes")  # pyright: ignore[reportAttributeAccessIssue]
        self._kept[group] = values
        while len(self._kept) > 1 and sum(v.nbytes for v in self._kept.values()) > _KEPT_BYTES:
            self._kept.popitem(last=False)
        return values


def parquet_pool(shards: Sequence[Shard], name: str, *, labelled: bool = True) -> Whole:
    """Every row of some Parquet files with a column of images.

    The column is `image` (or `img`, `jpg`, `png`, `webp`), else the only one that can hold images;
    labels are in `label` (or `labels`, `cls`, `class`, `fine_label`), with the names that a Hugging
    Face data set left in the file.

    Args:
        shards: the files.
        name: what to call the pool.
        labelled: whether labels are wanted; without, their column is not looked at.

    Raises:
        DataError: a damaged file, no such column, other columns in another file, a row group that
            does not fit in memory, or fewer than two rows.
    """
    files = [_metadata(shard) for shard in shards]
    schemas = [file.schema.to_arrow_schema() for file in files]
    column = image_column(schemas[0], str(shards[0].path))
    label = label_column(schemas[0].names) if labelled else None
    for shard, schema, file in zip(shards, schemas, files, strict=True):
        for wanted in filter(None, (column, label)):
            if (
                wanted not in schema.names
                or schema.field(wanted).type != schemas[0].field(wanted).type
            ):
                raise DataError(
                    f"column {wanted!r} as {schemas[0].field(wanted).type} in every file",
                    f"{shard.path} without it",
                    WITHOUT if wanted == label else "",
                )
        _check_groups(file, column, shard)
    n = sum(file.num_rows for file in files)
    check_enough(n, "rows", name)
    ids = [
        f"{s.name}/{row}" for s, f in zip(shards, files, strict=True) for row in range(f.num_rows)
    ]
    codes, names = None, ()
    if label is not None:
        codes, names = _labels(shards, label, class_names(schemas[0], label))
    return Whole(ParquetSource(shards, files, column), name, ids, codes, names)


def image_column(schema: pa.Schema, where: str) -> str:
    """The column that holds the images.

    Raises:
        DataError: none can, or several.
    """
    fit = [item.name for item in schema if _holds_images(item.type)]
    named = [name for name in IMAGE_COLUMNS if name in fit]
    if named or len(fit) == 1:
        return (named or fit)[0]
    columns = ", ".join(f"{item.name!r} ({item.type})" for item in schema)
    raise DataError(
        f"a column `image` of encoded images (binary, or a struct with `bytes`) in {where}",
        f"columns {columns or 'none'}",
        "Rename the column that holds them to `image`",
    )


def class_names(schema: pa.Schema, column: str) -> tuple[str, ...]:
    """The names of a column's labels that a Hugging Face data set left in the schema, if any."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_images(kind.field("bytes").type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _metadata(shard: Shard) -> pq.FileMetaData:
    try:
        with shard.open() as opened, _parquet(shard, opened) as file:
            return file.metadata
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).split("\n")[0]
        raise DataError(
            "a whole Parquet file",
            f"{shard.path}: {reason}",
            reading_remedy(error, "Copy it again, or leave it out"),
        ) from error


def _parquet(shard: Shard, opened: BufferedReader) -> pq.ParquetFile:
    # From other storage, columns are asked for before they are needed, several at once.
    return pq.ParquetFile(opened, pre_buffer=isinstance(shard.path, RemoteFile))


def _read_column(shard: Shard, column: str) -> pa.Table:
    with shard.open() as opened, _parquet(shard, opened) as file:
        return file.read(columns=[column])


def _check_groups(file: pq.FileMetaData, column: str, shard: Shard) -> None:
    for place in range(file.num_row_groups):
        group = file.row_group(place)
        chunks = (group.column(number) for number in range(group.num_columns))
        size = sum(
            chunk.total_uncompressed_size
            for chunk in chunks
            if chunk.path_in_schema.partition(".")[0] == column
        )
        if size > MOST_GROUP_BYTES:
            raise DataError(
                f"row groups of at most {MOST_GROUP_BYTES >> 20:,} MB of images in {shard.path}",
                f"{size >> 20:,} MB in row group {place}",
                "Write it again with smaller ones (`row_group_size=100`)",
            )


def _labels(
    shards: Sequence[Shard], column: str, names: tuple[str, ...]
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    try:
        tables = [_read_column(shard, column) for shard in shards]
    except (OSError, pa.ArrowException) as error:
        reason = str(error).split("\n")[0]
        raise DataError(f"column {column!r} in every shard", reason, WITHOUT) from error
    return column_labels(pa.concat_tables(tables).column(0), names, f"column {column!r}")
