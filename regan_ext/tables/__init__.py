"""The paper's tables: their numbers, the command of each cell, and what was measured here. The numbers lie in ``data``."""
