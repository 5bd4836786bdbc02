"""A law fitted to a table: search, optimum, certificate, remarks."""
