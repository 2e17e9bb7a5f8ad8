"""Requests and answers as files, between one who asks and the jobs of a batch system."""
