"""From photographs and data sets to label maps, heatmaps and scores."""
