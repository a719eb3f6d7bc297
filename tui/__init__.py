"""The terminal interface: command line and offline chat."""
