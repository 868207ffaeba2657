"""Text as a second modality: collections, words that are near, views, a word-level encoder."""
