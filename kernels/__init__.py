"""Numbers: arrays in, arrays out. Compiled, no I/O."""
