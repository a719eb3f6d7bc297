"""A conversation as a file of its own: Markdown and HTML for reading, JSON for keeping.

    path = export(conversations_file, 12, "md")            # → ./why-is-the-sky-blue.md
    path = export(conversations_file, 12, "json", "~/notes/sky.json")

A file that is there already is never touched: the new one takes the next free name.
"""

from .write import FORMATS, Format, Order, export, order

__all__ = ["FORMATS", "Format", "Order", "export", "order"]
