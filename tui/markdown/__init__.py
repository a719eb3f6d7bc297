"""Markdown from a model, as it streams, to lines of styled text for the terminal."""
