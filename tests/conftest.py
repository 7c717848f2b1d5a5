"""Settings of the whole suite."""

import torch

# The tensors of the tests are tiny: threads would only wait for each other, on a busy machine long.
torch.set_num_threads(1)
