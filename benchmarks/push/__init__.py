"""Push: many websocket subscribers to one served session, from the commit to the frame received."""
