"""HTML pages of reports that open without a network: layout, tables and figures."""
