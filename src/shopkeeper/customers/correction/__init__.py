"""What is done to answers after a model has given them: calibrated, carried to the season, given an interval."""
