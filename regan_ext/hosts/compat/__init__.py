"""What hosts need on the PyTorch, SciPy, setuptools and Python of today."""
