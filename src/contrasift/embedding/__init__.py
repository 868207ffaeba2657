"""Embeddings of a pool by an encoder, and the map of them."""
