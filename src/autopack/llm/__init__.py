"""Models: one gateway over the providers' SDKs, replay below it, recording and prices beside it."""
