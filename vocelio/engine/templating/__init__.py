"""Liquid templates and conditions of flow documents, with a work budget."""
