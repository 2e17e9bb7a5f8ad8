"""Chemistry that several terms share: oxidation balance, element data, Magpie features."""
