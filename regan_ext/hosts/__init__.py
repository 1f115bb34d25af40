"""Which host a folder holds, and how its flavour differs from another."""
