"""What every model is to the rest of the project, whatever it is asked: see `about`."""
