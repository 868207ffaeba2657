"""Pre-training of image encoders: encoders, views, batches, and the run that ties them together."""
