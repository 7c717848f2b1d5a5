"""What runs and operators show: functions that return data, and figures drawn from them."""
