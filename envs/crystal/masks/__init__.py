"""Which actions are allowed, stage by stage."""
