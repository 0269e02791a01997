"""The control channel between the command line and a supervisor."""
