"""HTTP: from a request to a response, and the servers that run the handler."""
