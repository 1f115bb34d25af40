"""Masks, selections and channels of a network."""
