"""The papers' tables and figures as grids of cells: declared, run, kept as JSONL, written as pages.

`python -m reproduce` in a clone of the repository; no part of the installed package.

    declared ──> cell ──> runner ──> cell_store (cells/*.jsonl) ──> render ──> pages/*.md
                            │
                 artifacts (trainings, embeddings, classes, selections, each made once)
                 evaluate, metrics (accuracies of an encoder, and what else is measured of it)
"""
