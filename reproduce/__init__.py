"""The papers' tables and figures as grids of cells: declared, run, kept as JSON, told as a page.

declared ──> cells ──> performing ──> one JSON a cell ──> page ──> RESULTS.md
│
workshop (trainings, embeddings, classes, selections, each made once)
measuring, readings (what an encoder is worth, and what else it is asked)
"""
