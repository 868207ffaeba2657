"""Questions to a finished run: which fraction, which negatives, which bounds, how alike are two."""
