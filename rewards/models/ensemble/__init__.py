"""What the fitted models share: layers, training, metrics, folder, card."""
