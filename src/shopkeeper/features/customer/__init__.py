"""What is known of a customer at an instant, group by group, as a configuration declares it."""
