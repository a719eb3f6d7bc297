"""What a person can do in the chat: one table for keys, palette, slash commands and help."""
