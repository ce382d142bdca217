"""Thumbnails, variants and what image files say about themselves."""
