"""What is done to a meter in several steps: its clock, its supply, its firmware, its tokens. Sans-IO, each a generator of steps."""
