"""Image variants: parsing requests, rendering within limits, caching; and metadata of image files."""
