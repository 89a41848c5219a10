"""Matrix factorisations: an item is a vector, a customer is made from the items of the history."""
