"""What is maximised: augmentation similarity, with a threshold, coverage, herding."""
