"""Gradient shortcuts and gradient noise: do they help?"""

from studies.study import Study

STUDY = Study("additions")
