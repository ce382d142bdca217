"""What goes in and what comes out: recognising, downloading, placing and storing files."""
