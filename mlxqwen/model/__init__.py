"""Arrays to arrays: the Qwen family's decoder, its layers and caches."""
