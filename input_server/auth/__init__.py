"""Authentication: keys, signed links, lockout."""
