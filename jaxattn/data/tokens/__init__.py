"""Vocabularies, and texts as ids."""
