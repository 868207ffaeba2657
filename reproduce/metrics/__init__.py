"""What a cell measures: accuracies by name, and further readings of its encoder."""
