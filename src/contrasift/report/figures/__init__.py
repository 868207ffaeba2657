"""Interactive figures of the studies; Plotly stands here and nowhere else but in the report."""
