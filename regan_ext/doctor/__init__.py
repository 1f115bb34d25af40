"""What is in order for training here, and what is not."""
