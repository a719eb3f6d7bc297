"""Files to arrays and back: safetensors, quantisation specs, layouts, loading."""
