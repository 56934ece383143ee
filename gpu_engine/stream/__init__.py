"""Floor 4: the data streamer: what commits change in a list query, told to listeners in the order of epochs."""
