"""Where dear work is done: in processes of this machine, on a Ray cluster, or by the jobs of a batch system."""
