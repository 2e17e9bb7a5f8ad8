"""The world of alloys: its space, masks, tokens and kernel."""
