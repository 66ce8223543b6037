"""Studies: what a planner asks, composed of what lies below; no physics and no prices of their own."""
