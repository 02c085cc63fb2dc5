"""The lines that each notebook leaves to its reader: `nbNN.LINES`, by key."""
