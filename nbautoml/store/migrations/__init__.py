"""Migrations of a record's schema, run by `nbautoml.store.records` when an older one is opened."""
