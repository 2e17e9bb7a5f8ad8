"""The faces that other libraries use: Gymnasium, its vector environments, torchgfn."""
