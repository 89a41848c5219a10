"""What a serving team receives: `write` makes a bundle (may use torch), `answer` opens it and answers (never does)."""
