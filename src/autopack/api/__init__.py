"""The REST API: thin routers over `db`, the only users of it. One request is one transaction."""
