"""What a bundle runs in a trained model's place: arrays and the NumPy that reads them, or a graph. No torch here."""
