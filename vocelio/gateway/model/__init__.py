"""Domain types shared by the packages. No I/O."""
