"""Reports: what people look at. Numbers are rounded here and nowhere else."""
