"""shopkeeper: what each regular will want next, who is drifting away, what they are worth.

Importing the package is cheap: no torch, no Polars, no MLflow until a verb needs them.
"""

import os

# OpenMP's threads otherwise spin while they wait: beside any other busy process that costs ten times the work itself.
# It is read once, when the first library brings OpenMP in, hence here; a value of your own stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
