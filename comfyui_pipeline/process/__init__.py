"""This process: its streams, signals, packages and time limit."""
