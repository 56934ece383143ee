"""Floor 4: hierarchies, measures, aggregate providers, query plans and live queries."""
