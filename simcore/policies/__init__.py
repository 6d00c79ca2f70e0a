"""What is kept and what goes. One policy is one small class with a link to its source."""
