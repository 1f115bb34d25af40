"""Quality metrics: more of them through the host's own code, what they were measured on, and measuring without training."""
