"""Mounts: named folders, and the files in them."""
