"""What makes a network with a broken backward pass learn: controls, and two proposals."""

from studies.study import Study

STUDY = Study("feedback")
