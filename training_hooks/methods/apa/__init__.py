"""APA: adaptive pseudo augmentation."""
