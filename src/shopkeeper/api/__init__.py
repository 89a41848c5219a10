"""The package for programs and notebooks: from a DataFrame to a comparison, by the code of the verbs.

    import shopkeeper as sk

    data = sk.Dataset.from_pandas(frame, user="customer", item="sku", time="bought_at")
    models = [sk.fit("item_knn", data), sk.fit("personal_frequency", data)]
    sk.evaluate(models)
    models[0].recommend(["c17"], k=10)

Nothing is written into the current folder: what is made lies in a temporary folder, gone when Python ends, or where
`folder=` says.
"""

from shopkeeper.api.campaigns import Uplift, uplift
from shopkeeper.api.compared import Comparison, Report, compare, evaluate
from shopkeeper.api.customers import Written, audience, score, segments, upload
from shopkeeper.api.dataset import Dataset, dataset
from shopkeeper.api.estimator import Estimator, fit, load
from shopkeeper.api.own import Histories, Model
from shopkeeper.api.registry import Promotion, promote
from shopkeeper.api.search import Search, tune
from shopkeeper.configuration import names as choices
from shopkeeper.errors import UserError

__all__ = [
    "Comparison", "Dataset", "Estimator", "Histories", "Model", "Promotion", "Report", "Search", "Uplift", "UserError",
    "Written", "audience", "choices", "compare", "dataset", "evaluate", "fit", "load", "promote", "score", "segments",
    "tune", "uplift", "upload",
]  # fmt: skip
