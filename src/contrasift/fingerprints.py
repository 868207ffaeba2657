"""What a result was made of, as one short word: equal inputs, equal words, whoever asks and when.

Stages, caches and files are compared by these. They must stay what they are from version to
version: a run that was begun with an older one would else do all its work again.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np


def fingerprint_of(*parts: str) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of texts, joined by spaces."""
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def json_fingerprint(value: object) -> str:
    """The same of a value, written as JSON with sorted keys."""
    return fingerprint_of(json.dumps(value, sort_keys=True))


def array_sha256(values: np.ndarray) -> str:
    """SHA-256 of an array's bytes in C order, without its type and shape: 64 digits."""
    return hashlib.sha256(values.tobytes()).hexdigest()
