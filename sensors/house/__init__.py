"""A house that is not there: weather, people and air, the same whoever asks. Every value follows from seed and time."""
