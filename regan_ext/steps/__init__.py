"""Runs of runs: steps that hand files to each other, done one after the other."""
