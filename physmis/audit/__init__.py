"""An audit of one's own trajectories."""
