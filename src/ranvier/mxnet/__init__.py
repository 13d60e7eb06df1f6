"""What ranvier needs to work with MXNet where it is installed."""
