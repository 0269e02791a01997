"""Seeing what happened: the event log."""
