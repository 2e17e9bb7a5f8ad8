"""Terms in worker processes, which a crash or a hang cannot take the run with."""
