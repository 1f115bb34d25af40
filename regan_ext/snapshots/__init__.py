"""Snapshots: opening them, and drawing from them."""
