"""What the YAML may say about each metric, figure and toy world. Light: no torch, no pandas."""
