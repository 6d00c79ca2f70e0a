"""What can be tried on real tensors: tasks with right answers, the small models trained on them, and their accuracy."""
