"""From a log to a prepared folder: filters, numbering, order, attributes, returns, written whole."""
