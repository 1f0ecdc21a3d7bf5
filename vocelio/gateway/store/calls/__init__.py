"""The calls table: ownership, write-behind, history, usage and analytics."""
