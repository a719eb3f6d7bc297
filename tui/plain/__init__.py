"""The linear chat: for screen readers, braille displays, dumb terminals and slow connections.

Everything it writes is text that follows what was written before. It shares session, store and
engine with the graphical chat, and imports nothing of Textual.
"""
