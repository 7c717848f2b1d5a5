"""broken from the identity: which seeds collapse, and what prevents it."""

from studies.study import Study

STUDY = Study("collapse")
