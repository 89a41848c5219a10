"""Simulated shops, whose truth is known: `shop.simulate` writes one, the oracles ask what it knows."""
