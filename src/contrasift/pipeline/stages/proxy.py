"""The stage that trains the encoder by which the pool is embedded, where none is given."""

from __future__ import annotations

import dataclasses
from typing import Any

from contrasift.options import RunOptions, TrainOptions
from contrasift.pipeline.run import Run
from contrasift.pipeline.stages.scan import readable_positions
from contrasift.store.run import StageRecord

PROXY_FILE = "training/proxy/encoder.safetensors"


def proxy_options(options: RunOptions) -> TrainOptions:
    """How the proxy is trained: as the runs to come, for fewer epochs, with all negatives alike.

    Raises:
        UsageError: the runs to come name a policy for negatives that is none.
    """
    from contrasift.negatives.parsing import parse_schedule

    train, embed = options.train, options.embed
    parse_schedule(train.negatives, train.negatives_schedule)
    return dataclasses.replace(
        train.with_method(embed.proxy_method or train.method),
        epochs=embed.proxy_epochs or max(1, train.epochs // 2),
        architecture=embed.proxy_architecture or train.architecture,
        # A policy may need the latent classes that the proxy is there to find.
        negatives="",
        negatives_schedule="",
        loss="",
        queue_reserve=0,
    )


def proxy_fingerprint(run: Run) -> str:
    """What a proxy is made of."""
    seed = str(run.options.embed.seed)
    return proxy_options(run.options).fingerprint(run.record("scan").fingerprint, seed)


def proxy(run: Run) -> StageRecord:
    """Train the encoder that embeds the pool, where no pretrained one is named."""
    options = proxy_options(run.options)
    seed, fingerprint = run.options.embed.seed, proxy_fingerprint(run)

    def work() -> dict[str, Any]:
        from contrasift.training.pretrain import pretrain

        positions = readable_positions(run)
        with run.narrator.progress("training the proxy", "steps") as progress:
            result = pretrain(
                run.pool,
                positions,
                options,
                seed=seed,
                folder=run.training_folder("proxy", fingerprint),
                device=run.device,
                progress=progress,
            )
        note = f"{options.architecture}, {options.epochs} epochs, loss {result.loss:.3f}"
        return {"seconds": result.seconds, "steps": result.steps, "note": note}

    return run.do("proxy", fingerprint, [PROXY_FILE], work)
