"""From the JSON of finished cells to RESULTS.md: gathered, decided, drawn, written."""
