"""What the reader touches: predictions, sliders, bits. Each works without ipywidgets too, as plain text."""
