"""The report of a scaling study: page, figures, tables, and what is needed to repeat the study."""
