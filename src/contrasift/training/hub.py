"""The hub from which published weights come: asked once where it can be reached, never waited for."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

_SECONDS = 5.0


def reachable() -> bool:
    """Whether the hub takes connections. Behind a proxy that cannot be told, so it counts as yes."""
    from huggingface_hub import constants

    if any(
        os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
    ):
        return True
    place = urlsplit(constants.ENDPOINT)
    try:
        with socket.create_connection((place.hostname or "", place.port or 443), _SECONDS):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def without_waiting() -> Iterator[None]:
    """Where the hub cannot be reached, take what its cache holds: its client tries for a minute."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    if not before and not reachable():
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
