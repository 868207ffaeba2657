"""Where results live: atomic files, a run folder's stages, and the tables between them."""
