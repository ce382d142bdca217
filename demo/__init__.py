"""One real tool call on this machine, from JSON on stdin to an image behind a URL."""
