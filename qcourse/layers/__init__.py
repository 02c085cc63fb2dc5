"""Third floor: vLLM's contract between a layer and a format."""
