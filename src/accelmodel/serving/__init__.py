"""Serving: what a loaded replica gives its users: latencies, rates, occupancy, power."""
