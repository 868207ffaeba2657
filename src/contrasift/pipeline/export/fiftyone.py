"""A ranked pool as a data set of FiftyOne, to be looked at in its gallery."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from contrasift.narration import Progress
from contrasift.pipeline.export.chosen import ChosenExamples, Say
from contrasift.pipeline.export.images import write_images
from contrasift.store.atomic import write_json

# FiftyOne reads a data set without this key by its JSON layout, with it as a dump of its database.
_DATABASE_KEY = "version"


def write_fiftyone(
    chosen: ChosenExamples, folder: Path, link: str, say: Say, progress: Progress
) -> None:
    """Write `metadata.json`, `samples.json` and `data/`, which FiftyOne imports as `FiftyOneDataset`.

        fiftyone.Dataset.from_dir(folder, dataset_type=fiftyone.types.FiftyOneDataset)

    The layout is documented at
    https://docs.voxel51.com/api/fiftyone.types.dataset_types.html#LegacyFiftyOneDataset: samples
    are JSON objects, with labels as objects that name their class in `_cls`, and paths relative to
    the folder. FiftyOne's importer takes a `metadata.json` without the key `version` for this
    layout; the newer one is a dump of its database, with identifiers that only it can make.

    Every ranked example is a sample with the fields `ground_truth` (its label, where there is one)
    and `latent_class` (Classification), `rank`, `gain`, `selected`, `pool_id`, `pool_index`, and the
    tag `selected` if it is.

    Raises:
        DataError: an image can no longer be read.
    """
    names = write_images(chosen, folder / "data", link, say, progress)
    metadata = {
        "media_type": "image",
        "num_samples": len(chosen),
        "info": {"written_by": "contrasift", "selected": int(chosen.selected.sum())},
    }
    assert _DATABASE_KEY not in metadata
    write_json(folder / "metadata.json", metadata)
    with open(folder / "samples.json", "x", encoding="utf-8") as file:
        file.write('{"samples": [')
        for row, name in enumerate(names):
            sample = json.dumps(_sample(chosen, row, name), ensure_ascii=False, allow_nan=False)
            file.write(f"{',' if row else ''}\n{sample}")
        file.write("\n]}\n")


def _sample(chosen: ChosenExamples, row: int, name: str) -> dict[str, Any]:
    facts = chosen.facts(row)
    selected = bool(chosen.selected[row])
    gain = float(chosen.gain[row])
    sample = {
        "filepath": f"data/{name}",
        "tags": ["selected"] if selected else [],
        "latent_class": _classification(str(facts["latent_class"])),
        "rank": facts["rank"],
        "gain": gain if math.isfinite(gain) else None,
        "selected": selected,
        "pool_id": facts["id"],
        "pool_index": facts["index"],
    }
    if "label" in facts:
        sample["ground_truth"] = _classification(facts["label"])
    return sample


def _classification(label: str) -> dict[str, Any]:
    return {"_cls": "Classification", "tags": [], "label": label}
