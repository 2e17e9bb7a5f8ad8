"""Tables that come in and go out: formulas, structures, known crystals, candidates."""
