"""One file a format: its config (what the checkpoint says) and its method (what the layer does)."""
