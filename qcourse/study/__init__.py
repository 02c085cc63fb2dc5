"""The roof: what a quantized model costs and what it loses. Plots and widgets live here and nowhere else."""
