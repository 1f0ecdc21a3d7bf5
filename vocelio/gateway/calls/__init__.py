"""The live call: one per media stream, the record that outlives it, and the registry of both."""
