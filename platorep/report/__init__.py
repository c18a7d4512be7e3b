"""One page that shows a finished experiment: its answer, its figures, what two networks share."""
