"""Who the customers of a shop are at an instant: segments by rules and by likeness, and how they move between them."""
