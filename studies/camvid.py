"""Street scenes: a front end, context modules on top of it, and both trained together."""

from studies.study import Study

STUDY = Study("camvid")
