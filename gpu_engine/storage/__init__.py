"""Floor 2: dictionaries, the entity index, growable columns, and which rows are alive."""
