"""What is recorded of where a run comes from; used by the page of one run and by studies."""
