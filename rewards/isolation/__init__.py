"""Terms on an executor: in worker processes or on other machines, where a crash or a hang cannot take the run along."""
