"""The papers' tables and figures as grids of cells: declared, run, kept as JSONL, written as pages.

`python -m reproduce` in a clone of the repository; no part of the installed package.

    declared ──> cell ──> runner ──> cell_store (cells/*.jsonl) ──> render ──> pages/*.md
                            │
                 artifacts (trainings, embeddings, classes, selections, each made once)
                 evaluate, metrics (accuracies of an encoder, and what else is measured of it)

Modules of the product that it uses; a test holds this list against the imports:

    options and messages: contrasift.catalogue, contrasift.errors, contrasift.options,
        contrasift.options.words
    images, and mixtures of them: contrasift.pools, contrasift.pools.base,
        contrasift.pools.prepare, contrasift.pools.whole
    stages of a run: contrasift.pipeline.run, contrasift.pipeline.stages.classes,
        contrasift.pipeline.stages.embed, contrasift.pipeline.stages.proxy,
        contrasift.pipeline.stages.scan, contrasift.pipeline.stages.select,
        contrasift.pipeline.stages.train, contrasift.pipeline.stages.within,
        contrasift.pipeline.studies.bounds, contrasift.pipeline.studies.dynamics
    selections, and their baselines: contrasift.selection.baselines, contrasift.selection.budget,
        contrasift.selection.kernels.linear_form, contrasift.selection.select
    encoders and their embeddings: contrasift.embedding.embed, contrasift.embedding.projection,
        contrasift.training.loading, contrasift.training.pretrain,
        contrasift.training.switching
    accuracies and intervals: contrasift.evaluation, contrasift.evaluation.checks,
        contrasift.evaluation.softmax
    negatives and bounds: contrasift.negatives.class_pairs, contrasift.negatives.contrasts,
        contrasift.negatives.profiles, contrasift.negatives.wordnet, contrasift.text.options,
        contrasift.theory.guarantees, contrasift.theory.terms
    files and locks: contrasift.store.atomic, contrasift.store.lock, contrasift.store.provenance,
        contrasift.store.run, contrasift.store.tables
    the command line and pictures: contrasift.cli.common, contrasift.cli.console,
        contrasift.cli.faults, contrasift.narration, contrasift.report.thumbnails
"""
