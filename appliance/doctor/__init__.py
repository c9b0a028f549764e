"""What really goes wrong with a hub: facts that were looked up, and pure rules that say what they mean."""
