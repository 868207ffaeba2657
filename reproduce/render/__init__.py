"""From the JSON of finished cells to RESULTS.md: load_selection, decided, drawn, written."""
