"""What experiments there are: axes, arms and claims, and the scales they are run at."""
