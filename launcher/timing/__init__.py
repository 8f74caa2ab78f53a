"""Where the time of a run went; used by the page of one run and by studies."""
