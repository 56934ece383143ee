"""Growth: how costs move with the size of tables, of providers, of commits, and with the number of subscribers."""
