"""The dilated convolution and its gradients in C++, compiled on first use."""
