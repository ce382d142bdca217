"""The gallery: a web page that shows the files of a mount."""
