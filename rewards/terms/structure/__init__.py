"""Reward terms of crystal structures: distances, packing, coordination, bond valences."""
