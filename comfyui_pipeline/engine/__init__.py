"""The ComfyUI server: its protocol, waiting for jobs, and their outputs."""
