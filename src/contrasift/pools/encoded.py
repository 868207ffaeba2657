"""Images that are stored as encoded bytes inside something larger, such as shards."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from io import BytesIO

from contrasift.pools.base import ImageSource, channels_of, decoding_threads
from contrasift.pools.folder import FOLDER_IMAGE_SIZE
from contrasift.pools.prepare import (
    ImageArray,
    UnreadableExample,
    image_suffix,
    is_grey_file,
    read_image_bytes,
)
from contrasift.pools.shards import Shard
from contrasift.store.objects import RemoteFile


class EncodedSource(ImageSource):
    """Images whose encoded bytes can be had; a subclass calls `look_at_images` when it is made."""

    @abstractmethod
    def image_bytes(self, row: int) -> bytes:
        """What would be an image file's content; raises UnreadableExample."""

    def look_at_images(self, *, every: bool = True) -> None:
        """Find out whether the images are grey, and decode as image files are decoded."""
        self.threads: int = decoding_threads()
        self.default_size = FOLDER_IMAGE_SIZE
        self.channels: int = channels_of(len(self), self._is_grey, self.threads, every=every)

    def decode(self, row: int, size: int) -> ImageArray:
        """One image, uint8 [size, size, channels]; raises UnreadableExample."""
        return read_image_bytes(self.image_bytes(row), size, self.channels)

    def encoded(self, row: int) -> tuple[bytes, str] | None:
        """The image's bytes and the extension of their format; raises UnreadableExample."""
        data = self.image_bytes(row)
        return data, image_suffix(data)

    def _is_grey(self, row: int) -> bool | None:
        try:
            return is_grey_file(BytesIO(self.image_bytes(row)))
        except UnreadableExample:
            return None


class ShardSource(EncodedSource):
    """Images inside files of many.

    Args:
        shards: the files.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = tuple(shards)

    def digest(self, row: int) -> int:
        """Hash of an image's bytes; unknown of objects, whose versions are known instead."""
        remote = isinstance(self._shards[0].path, RemoteFile)
        return 0 if remote else super().digest(row)

    def content(self) -> Iterable[bytes]:
        """Names, sizes and modification times of the shards."""
        for shard in self._shards:
            yield shard.content()
