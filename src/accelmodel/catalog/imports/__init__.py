"""Prices from where they exist (AWS, SkyPilot, LiteLLM) as dated snapshots of the catalogue's own format."""
