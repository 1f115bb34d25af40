"""Hooks that only look on."""
