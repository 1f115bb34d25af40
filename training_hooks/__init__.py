"""Training methods as hooks: no host needed, torch alone."""
