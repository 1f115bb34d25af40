"""GAN tickets as runs of runs: rounds, the tickets that they are compared with, and what is known of them."""
