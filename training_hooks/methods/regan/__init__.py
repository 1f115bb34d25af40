"""Re-GAN: architectural reconfiguration of the generator."""
