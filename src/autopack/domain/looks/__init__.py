"""What people ask about their runs: why nothing moves, what happened meanwhile, who works, how much is left. Pure."""
