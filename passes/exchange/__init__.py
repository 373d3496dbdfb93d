"""What comes in from other tools, brought to what the passes know."""
