"""Speech recognition and synthesis: interfaces, fallbacks, and one package per provider."""
