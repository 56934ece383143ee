"""Floor 3: tables as users hold them, transactions, branches, and the one writer."""
