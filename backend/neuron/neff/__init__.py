"""The compiled file: its container, and the encoding of the programs in it."""
