"""Analysis of networks and operators: functions that return data, and figures of that data."""
