from shopkeeper.api import Comparison as Comparison
from shopkeeper.api import Dataset as Dataset
from shopkeeper.api import Estimator as Estimator
from shopkeeper.api import Histories as Histories
from shopkeeper.api import Model as Model
from shopkeeper.api import Promotion as Promotion
from shopkeeper.api import Report as Report
from shopkeeper.api import Search as Search
from shopkeeper.api import Uplift as Uplift
from shopkeeper.api import UserError as UserError
from shopkeeper.api import Written as Written
from shopkeeper.api import audience as audience
from shopkeeper.api import choices as choices
from shopkeeper.api import compare as compare
from shopkeeper.api import dataset as dataset
from shopkeeper.api import evaluate as evaluate
from shopkeeper.api import fit as fit
from shopkeeper.api import load as load
from shopkeeper.api import promote as promote
from shopkeeper.api import score as score
from shopkeeper.api import segments as segments
from shopkeeper.api import tune as tune
from shopkeeper.api import uplift as uplift
from shopkeeper.api import upload as upload

__version__: str
