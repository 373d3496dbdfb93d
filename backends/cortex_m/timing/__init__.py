"""How many cycles the executed instructions would take: estimates, from what is published about each core."""
