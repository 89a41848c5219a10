"""Whether a campaign was randomised as it says: only then is a difference between its arms an effect.

Two looks at the treatment W and the probabilities e with which it was given:

* the number of treated against the sum of e;
* a two-sample classifier: trees are asked to tell from the features who was treated, each customer by trees that have
  not seen that customer's fold. Their guess g of W - e must not go with it: under randomisation
  sum g (W - e) / sqrt(sum g^2 e (1 - e)) is standard normal, whatever g is, since g is fixed before W is looked at
  (after D. Lopez-Paz and M. Oquab, Revisiting classifier two-sample tests, ICLR 2017). Where e is not known it is
  taken for the share of the treated, which allows of no other e than one for all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shopkeeper.campaigns.uplift.learners import Learner, Trial
from shopkeeper.campaigns.uplift.settings import Trees
from shopkeeper.customers.folds import folds_by_customer
from shopkeeper.errors import UserError
from shopkeeper.metrics.classification import auroc

LEVEL = 0.001  # of either look: a campaign is refused wrongly in about one of 500
FOLDS = 3


@dataclass(frozen=True)
class Balance:
    """What was found."""

    treated: int
    control: int
    p_number: float  # of so many treated, or a number further off
    p_features: float  # of features that tell so much of who was treated
    auroc: float  # with which the classifier tells the arms apart; .5 as by chance

    @property
    def against(self) -> str:
        """What speaks against a randomised campaign, "" where nothing does."""
        if self.p_number < LEVEL:
            return (
                f"{self.treated:,} treated and {self.control:,} in control do not fit the probabilities that were told "
                f"(p {self.p_number:.1g})"
            )
        if self.p_features < LEVEL:
            return (
                f"the features tell who was treated (AUROC {self.auroc:.3f}, p {self.p_features:.1g}): treatment was "
                "not given by chance, or not with the probabilities that were told"
            )
        return ""


def balance(trial: Trial, known: bool, trees: Trees, seed: int = 0) -> Balance:
    """Both looks; `known`: the probabilities are those of the plan, not the share of the treated."""
    from scipy.special import ndtr

    w, e = trial.treated.astype(float), trial.probability
    surprise = w - e
    guess = np.empty(len(w))
    for seen, held_out in folds_by_customer(np.arange(len(w)), seed, FOLDS):
        told = Learner(trees, seed).fit(trial.features[seen], surprise[seen])
        guess[held_out] = told(trial.features[held_out])
        guess[held_out] -= guess[held_out].mean()  # what the share of a fold alone would say
    spread = np.sqrt(np.sum(guess**2 * e * (1 - e)))
    z_features = float(np.sum(guess * surprise) / spread) if spread > 0 else 0.0
    z_number = float(surprise.sum() / np.sqrt(np.sum(e * (1 - e)))) if known else 0.0
    return Balance(
        treated=int(w.sum()),
        control=int((1 - w).sum()),
        p_number=float(2 * ndtr(-abs(z_number))),
        p_features=float(ndtr(-z_features)),
        auroc=float(auroc(w, (guess - guess.min()) / max(float(np.ptp(guess)), 1e-300))),
    )


def check_randomised(trial: Trial, known: bool, trees: Trees, seed: int = 0) -> Balance:
    """The same; a `UserError` where it speaks against a randomised campaign, or an arm is empty."""
    e = trial.probability
    if not ((e > 0) & (e < 1)).all():
        raise UserError("every customer must have had a chance of both arms: probabilities lie between 0 and 1")
    if trial.treated.all() or not trial.treated.any():
        raise UserError(f"all {len(e):,} customers are in one arm: without a control group there is no effect to see")
    found = balance(trial, known, trees, seed)
    if found.against:
        raise UserError(f"no uplift from this campaign: {found.against}; uplift needs a randomised one")
    return found
