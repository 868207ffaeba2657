"""What a selection reaches beside others: curves, measures, overlap."""
