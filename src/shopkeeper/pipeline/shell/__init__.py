"""What is typed, before a verb begins: which function it runs, ids that stay text, mistakes in one line."""
