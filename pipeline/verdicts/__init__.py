"""What our results say of the papers' numbers: gains, intervals, claims, and the one rule that judges them."""
