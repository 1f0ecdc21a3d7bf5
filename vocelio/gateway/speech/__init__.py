"""Recognition and synthesis: the ports, and one package or module per provider."""
