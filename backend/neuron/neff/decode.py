"""From a compiled file to what runs."""

from ranvier.backend.neuron.neff.decode_program import decode_program as decode_program
