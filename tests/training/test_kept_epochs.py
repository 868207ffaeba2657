from __future__ import annotations

import numpy as np
import pytest

from contrasift.errors import UsageError
from contrasift.options import TrainOptions, parse_epochs
from contrasift.pools import open_pool
from contrasift.training.encoders import weights_sha256
from contrasift.training.loading import load_encoder
from contrasift.training.pretrain import pretrain


@pytest.mark.parametrize(
    ("text", "epochs"),
    [("", []), ("2", [2]), ("1, 3,9", [1, 3]), ("all", [1, 2, 3, 4]), ("9", []), ("4,4", [4])],
)
def test_epochs_by_name(text, epochs):
    assert parse_epochs(text, 4) == set(epochs)


@pytest.mark.parametrize("text", ["0", "-1", "1;2", "one", "1,,2", "ALL", "1.5", "²"])
def test_what_names_no_epochs(text):
    with pytest.raises(UsageError, match="keep_epochs= like 1,4,10, or all"):
        TrainOptions(keep_epochs=text)


@pytest.mark.parametrize("split", [1, 2])
def test_kept_encoders_are_those_of_their_epochs(tmp_path, split):
    images = np.random.default_rng(0).integers(0, 256, (16, 12, 12), dtype=np.uint8)
    pool, places = open_pool(images), np.arange(16)
    common = {"architecture": "narrow:0.25", "epochs": 3, "batch_size": 8, "projection_dim": 4}
    if split > 1:
        common |= {"method": "moco", "split_bn": split, "queue_size": 8}

    def train(name, **more):
        options = TrainOptions(**common, **more)
        return pretrain(
            pool, places, options, seed=0, folder=tmp_path / name, device="cpu", progress=False
        )

    train("plain"), train("kept", keep_epochs="1,3")
    kept = tmp_path / "kept"
    assert sorted(path.name for path in kept.glob("*.safetensors")) == [
        "encoder-epoch0001.safetensors",
        "encoder-epoch0003.safetensors",
        "encoder.safetensors",
    ]
    plain, last, first = (
        load_encoder(source)
        for source in (str(tmp_path / "plain"), f"{kept}@epoch=3", f"{kept}@epoch=1")
    )
    assert weights_sha256(plain) == weights_sha256(last) != weights_sha256(first)
    assert first.description == last.description
