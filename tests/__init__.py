"""A package, so that `python -m tests.…` finds these and not what a library may install under the same name."""
