"""How orders come and customers leave: buy-till-you-die processes and what follows from them."""
