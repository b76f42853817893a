"""Finding the meters on a line: what is asked in which order, what answers mean, how long it takes. Pure; `headend.collect.scan` asks."""
