"""The papers' tables and figures as grids of cells: declared, run, kept as JSON, told as a page.

declarations → cells → (shared parts: trainings, embeddings, classes, selections) → one JSON each
→ RESULTS.md
"""
