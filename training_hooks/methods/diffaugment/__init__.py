"""DiffAugment: differentiable augmentation."""
