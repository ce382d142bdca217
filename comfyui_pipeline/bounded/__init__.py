"""Text from outside, read and written within limits."""
