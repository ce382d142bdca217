"""Who runs a workflow. ``base`` is the protocol; each further file is one engine."""
