"""The seams of NVIDIA's StyleGAN training loops."""
