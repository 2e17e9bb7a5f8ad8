"""The network, its layers, and the masked softmax that draws actions."""
