"""From a provider's JSON to records in the one schema."""
