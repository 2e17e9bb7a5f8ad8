"""From given crystals to states of the world."""
