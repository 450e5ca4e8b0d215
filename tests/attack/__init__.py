"""What an attacker tried, and what became of it."""
