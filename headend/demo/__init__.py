"""The demonstration: a simulated world in a child process, read by the real head-end over real protocol bytes."""
