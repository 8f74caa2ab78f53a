"""A study before it has measured: request, points, plan, study.json, submitting, resuming."""
