"""The loop: claims due clusters, looks at them, stores what was seen or what went wrong, sweeps what is old."""
