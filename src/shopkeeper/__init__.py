"""shopkeeper: what each regular will want next, who is drifting away, what they are worth.

Importing the package is cheap: no torch, no Polars, no MLflow until a verb needs them.
"""

import os

# OpenMP's threads otherwise spin while they wait: beside any other busy process that costs ten times the work itself.
# It is read once, when the first library brings OpenMP in, hence here; a value of your own stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# oneDNN keeps the kernels it has made for 1,024 shapes; a training on sequences of many lengths has a few more.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")

__version__ = "0.1.0"
