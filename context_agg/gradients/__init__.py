"""The gradient laboratory: how well a gradient agrees with the true one, and finite differences."""
