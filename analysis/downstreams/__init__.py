"""A task's score from params and tokens: loss law and link in one fit, a direct law, and their mixture."""
