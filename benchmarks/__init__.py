"""How fast: each bench one file, run by `make bench`; README.md has the tables."""
