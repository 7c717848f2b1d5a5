"""The gradient laboratory: agreement with the true gradient, and finite differences."""
