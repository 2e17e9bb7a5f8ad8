"""A few of many candidates: good ones that lie far apart, each standing for those around it."""
