"""Searches for the settings of Re-GAN that make a data set's metric best: one training run a trial, chosen by Optuna."""
