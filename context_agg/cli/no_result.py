"""The keys that change no result: where images lie, how they come, and when a run is saved."""

NO_RESULT = (
    "data.root",
    "data.memory",
    "data.workers",
    "checkpoint.every_minutes",
    "checkpoint.every_steps",
)
