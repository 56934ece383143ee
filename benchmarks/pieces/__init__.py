"""Small pieces, one by one, with pytest-benchmark."""
