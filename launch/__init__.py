"""Programs that start the workers of a cluster: on this machine, by a scheduler, in a cloud."""
