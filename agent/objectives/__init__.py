"""The formulas that learners minimise, each with its paper and equation."""
