"""The gallery: a page to look at the results."""
