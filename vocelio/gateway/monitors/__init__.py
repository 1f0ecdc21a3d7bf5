"""Whoever watches: the picture of each tenant's calls, kept equal to the store's, and the feed to each monitor."""
