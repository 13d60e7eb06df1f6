"""The NeuronCore target: lowering, allocation, schedule, file format, machine, simulator."""
