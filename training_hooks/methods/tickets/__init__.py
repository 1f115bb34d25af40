"""GAN tickets: iterative magnitude pruning with rewinding."""
