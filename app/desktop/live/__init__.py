"""What the Live page is made of: the grid of blocks, tables, the scrubber, the inspector of what is chosen."""
