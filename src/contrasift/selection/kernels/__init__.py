"""The hot loops: one dot product in one order, sums that no order changes, blocked products."""
