"""The catalogue: sourced figures, read from TOML, checked, converted to SI once, frozen."""
