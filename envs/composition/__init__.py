"""The world of compositions: its space, feasibility, masks, tokens and kernel."""
