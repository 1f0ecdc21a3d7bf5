"""Drawings of a flow: SVG, DOT and a text tree."""
