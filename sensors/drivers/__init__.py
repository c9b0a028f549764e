"""One file per kind of sensor or actuator."""
