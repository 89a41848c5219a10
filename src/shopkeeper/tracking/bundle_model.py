"""A bundle as MLflow serves it: this file is copied beside the bundle, and MLflow runs it.

Requests and answers are those of the bundle's `request.schema.json` and `response.schema.json`.

    curl host:port/invocations -H 'content-type: application/json' -d '{"inputs": [{"history": ["sku-1"], "k": 5}]}'
"""

from typing import Any

from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Answers(PythonModel):
    """Answers from the bundle that was logged with it."""

    def load_context(self, context: Any) -> None:
        """Check every hash and open the bundle."""
        from shopkeeper.serving import Bundle

        self.bundle = Bundle.load(context.artifacts["bundle"])

    def predict(self, context: Any, model_input: list[dict[str, Any]], params: Any = None) -> list[dict[str, Any]]:
        """An answer, or an error, to each request."""
        from shopkeeper.bundles.answer.wire import answered

        return answered(self.bundle, model_input)


set_model(Answers())
