"""What is being taught: data sets, splits, networks, learners, metrics."""
