"""Markdown from a model, as it streams, to lines of styled text for the terminal."""

from .document import Document
from .line import BLANK, STYLES, Line, Span
from .plain import PlainText
from .split import safe_cut
from .text import clean

__all__ = ["BLANK", "STYLES", "Document", "Line", "PlainText", "Span", "clean", "safe_cut"]
