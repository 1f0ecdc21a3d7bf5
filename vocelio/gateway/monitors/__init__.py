"""The event feed of monitors: one call view per live call, kept equal to the database."""
