"""Import MXNet symbols and parameters into `nn`, with or without MXNet installed."""
