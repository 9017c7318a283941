"""What the web page shows, read in few queries."""
