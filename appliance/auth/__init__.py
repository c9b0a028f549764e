"""Who is who, and who may do what: passwords and rules."""
