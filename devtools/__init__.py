"""What demo, benchmarks and tests share: servers as children, an isolated copy."""
