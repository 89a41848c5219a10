"""How an id is spelled, one and whole columns of them."""
