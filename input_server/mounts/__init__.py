"""Mounts: the served directories, finding and opening their files, cleaning them up."""
