"""What a transition kernel is, the check of it, and what follows from the contract alone."""
