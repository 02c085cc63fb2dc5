"""Foreign files, opened safely: safetensors and GGUF containers, and the folders that hold them. Nothing is unpickled."""
