"""What a worker does. It sees the queue only through the client, so it is the same in-process and remote."""
