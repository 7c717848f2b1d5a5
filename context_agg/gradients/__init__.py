"""The gradient laboratory: agreement with the true gradient, and a check of any backward pass."""

from context_agg.gradients.check_op import assert_backward, check_op
from context_agg.gradients.op_report import OpReport, TensorReport

__all__ = ["OpReport", "TensorReport", "assert_backward", "check_op"]
