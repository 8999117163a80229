"""The worker's side of the pipe to a panel."""
