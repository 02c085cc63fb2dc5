"""Fourth floor: a language model that never asks how its weights are stored."""
