"""A flow as a picture: Graphviz DOT, SVG, or a tree for the terminal."""
