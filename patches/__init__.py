"""Static patches for hosts, insertions only: ``regan-ext patch show`` prints the one for StyleGAN2-ADA-PyTorch."""
