"""Floor 3: what can be read of a row, through joins too: fields, arithmetic, conditions, parameters."""
