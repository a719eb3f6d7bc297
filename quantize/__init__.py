"""Turn a Qwen checkpoint into a quantised MLX one, tensor by tensor."""
