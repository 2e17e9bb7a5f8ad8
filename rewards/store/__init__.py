"""Values of rewards that outlive a run: a database, shared by runs and machines, in which each value is paid once."""
