"""The figures of a report: what each shows, and two ways to draw it, on the page and for papers."""
