"""Training a network: the learner, its metrics, losses and optimizers."""
