"""What makes this computer a hub of its own: its authority, its certificate, its first secret. Not loaded at rest."""
