"""Known models, and what this machine holds."""
