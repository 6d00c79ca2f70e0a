"""The same steps on real tensors: paged attention in torch, real models, and what they show of the simulator."""
