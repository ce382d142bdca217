"""Requests to responses, and the servers that receive and send them."""
