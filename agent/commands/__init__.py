"""The verbs of the command line, in rooms by what they work on: each parses, calls one function, prints."""
