"""Training: options, the host's arguments, resume, and the two ways in."""
