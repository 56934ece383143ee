"""Examples that can be read, run and served."""
