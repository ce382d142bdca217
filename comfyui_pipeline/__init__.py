"""One tool call's journey: load, download, patch, validate, queue, wait, fetch, report."""
