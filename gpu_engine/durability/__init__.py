"""Floor 4: the durable log, checkpoints of it, and how a restart finds all of it again."""
