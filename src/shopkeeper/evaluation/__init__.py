"""Run folder -> per-request table -> intervals, slices, comparisons, report."""
