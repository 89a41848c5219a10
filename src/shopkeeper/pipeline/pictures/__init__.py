"""Pictures on a run's page in MLflow."""
