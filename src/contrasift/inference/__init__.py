"""A finished run judges new examples: one by one, or as a stream."""
