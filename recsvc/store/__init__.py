"""Everything that speaks SQL: schema, engine, bulk transfer, queries, run ledger, publication."""
