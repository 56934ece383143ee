"""Floor 3: tables as users hold them, transactions, joins, conditions, and the one writer."""
