"""Run folders: what is in them, and the jobs behind them."""
