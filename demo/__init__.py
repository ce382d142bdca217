"""One real tool call, from JSON on stdin to a picture behind a URL, on this machine alone."""
