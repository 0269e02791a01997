"""Mutation fuzzing of the way from a domain file to a command line."""
