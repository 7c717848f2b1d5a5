"""Networks: the context module, the network around it, and the networks compared with it."""
