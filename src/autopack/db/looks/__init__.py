"""Reads for what people ask about: a few statements each, however long a run is, and judged in `domain/looks`."""
