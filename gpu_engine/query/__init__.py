"""Floor 3: queries of rows: run at any version, prepared once, and exact statistics of columns."""
