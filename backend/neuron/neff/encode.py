"""From a lowered module to a compiled file."""

from ranvier.backend.neuron.neff.encode_program import encode_program as encode_program
from ranvier.backend.neuron.neff.encode_program import program_of as program_of
