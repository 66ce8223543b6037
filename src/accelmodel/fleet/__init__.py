"""The fleet: demand to replicas, reserves, whole systems, megawatts and money."""
