"""What a workflow is: reading it, understanding it, changing it. Knows nothing of HTTP."""
