"""What really goes wrong with sensors on a Pi: facts that were looked up, and pure rules that say what they mean."""
