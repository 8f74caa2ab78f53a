"""Pages of HTML that open without a network: the frame, the tables and the figures of reports."""
