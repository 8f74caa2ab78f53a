"""The report of a scaling study: a page, figures, tables, and all that is needed to repeat it."""
