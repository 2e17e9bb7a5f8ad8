"""One HTML page of a run or a table: what was asked, what came, in numbers and pictures."""
