"""The person's git repository and what runs beside us: git by plumbing, exports, limited processes, checks."""
