"""What is counted and not learnt: what sells, what one took, how often and how lately."""
