"""What a cell measures: accuracies by name, and further metrics of its encoder."""
