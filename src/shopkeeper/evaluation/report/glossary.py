"""What the words and marks of the page mean: where a pointer rests on one, and all of them in a list at its end."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from shopkeeper.evaluation.report.names import heading_of

if TYPE_CHECKING:
    from markupsafe import Markup

# Of a metric without its cut-off; `{k}` is that.
METRICS = {
    "ndcg": "How far up a list of {k} stands what was then taken: 1 if all of it stands first, 0 if none is there.",
    "hit": "Share of requests of which at least one taken item is among the first {k}.",
    "recall": "Share of what was taken that is among the first {k}.",
    "precision": "Share of the first {k} that was taken.",
    "map": "Mean of the precision at each taken item among the first {k}.",
    "mrr": "One over the place of the first taken item, in the mean.",
    "r_precision": "Share of taken items among as many first places as were taken.",
    "percentile": "Share of the catalogue that stands above what was taken.",
    "auc": "Chance that a taken item stands above another one of the catalogue.",
    "coverage": "Share of the catalogue that anybody is shown among the first {k}.",
    "gini": "How unequally items are shown: 0 all alike, 1 one item alone.",
    "novelty": "How rare the first {k} are in training, in bits.",
    "popularity": "How often the first {k} were taken in training, in the mean.",
    "serendipity": "Share of the first {k} that was taken and is not what everybody is shown.",
    "diversity": "How different the categories of the first {k} are from each other.",
    "miscalibration": "How far the categories of the first {k} are from the customer’s own mix.",
    "repeat_share": "Share of the first {k} that the customer had taken before.",
    "ndcg_repeat": "The part of NDCG that comes from items that the customer had taken before.",
    "ndcg_explore": "The part of NDCG that comes from items that are new to the customer.",
    "price_ndcg": "NDCG in which dear items count for more.",
    "revenue": "What the customer then paid for items among the first {k}, per request.",
    "margin": "What the shop keeps of what the customer then paid for items among the first {k}, per request.",
    "margin_ndcg": "NDCG in which items with a large margin count for more.",
    "unavailable": "Share of the first {k} that is out of stock.",
    "basket_size": "Items that were taken in one order.",
    "bought_before": "Share of what was taken that the customer had taken before.",
    "in_cart": "Share of what was taken that stood in the customer's cart when it was asked for.",
    "log_loss": "How surprised the probabilities are by what happened: 0 is perfect, less is better.",
    "auroc": "Chance that one who did it has a higher probability than one who did not; 0.5 is chance.",
    "average_precision": "Mean share of those who did it among the highest probabilities; chance gives the base rate.",
    "brier": "Mean squared distance of the probabilities from what happened; less is better.",
    "ece": "How far promised and seen shares are apart in ten groups of equal size, in the mean.",
    "ece_if_calibrated": "The ECE that perfect probabilities would show at this number of customers, by chance alone.",
    "base_rate": "Share of all who did it: what anybody would say who knows nothing.",
    "lift_quality": "How much of the best possible gain the order of customers has: 1 is perfect, 0 is chance.",
    "emp": "Expected profit per customer of a campaign at its best cut, by the shop’s own values.",
    "scored": "Share of customers who have a score at all.",
    "poisson_deviance": "How far counts or amounts are from those that came, as fits means; less is better.",
    "absolute_error": "Mean distance of what was expected from what came.",
    "rmse": "Root of the mean squared distance of what was expected from what came.",
    "bias": "How far the sum of all that was expected is from the sum of what came, in percent.",
    "absolute_bias": "The same, whatever its sign: less is better.",
    "squared_error": "Mean squared distance of what was expected from what came.",
    "normalised_gini": "How well customers are put in order by amount: 1 is perfect, 0 is chance.",
    "spearman": "Rank correlation of what was expected and what came.",
    "pinball": "How far quantiles are from what came; less is better.",
    "concordance": "Chance that of two customers the one who comes first is expected first.",
    "in_interval": "Share of customers for whom the 80 % interval held.",
    "mean_total": "What a customer ordered or spent in the window, in the mean.",
}
WORDS = {
    "request": "One question to a recommender: what will this customer take now, by what is known until now?",
    "interval": "Where the true figure lies, so sure: drawn anew from the customers many times.",
    "baseline": "A simple model that others must beat, in grey.",
    "oracle": "Knows the rules of a simulated shop: the best that anybody could reach.",
    "cutoff": "The instant at which is asked: nothing after it is known to the model.",
    "PSI": "Population stability index: how far the distribution of a feature has moved; 0 is not at all.",
    "by chance": "The PSI that a feature which has not changed stays below in 19 of 20 cases, at these numbers.",
    "lift": "The rate among the chosen over the rate among all.",
    "best share in hindsight": "The share that would have brought most; nobody knows it before, so plan for less.",
    "share by probability": "Who is contacted if everybody is for whom a contact pays by the probability.",
    "control": "Customers of the audience who were left alone by a hash, so that the effect is seen.",
    "written to": "Customers of the audience who were dealt the message.",
    "buyers, points": "Buyers of 100 among those who were written to, less those among control.",
    "money each": "Net money of one who was written to, less that of one in control.",
    "money in all, after costs": "Money each, times all who were written to, less what writing cost.",
    "CUPED": "What each customer did before the message is taken out, so that a smaller effect is seen.",
    "uplift": "What a message changes: what would come with it, less what would come without.",
    "Qini": "How much more a learner’s order brings than chance, over all shares written to; 0 is chance.",
    "AUUC": "The same area, with the effect in each share times the share.",
    "effect in the first 30 %": "What treating changes among the three tenths whom a learner puts first.",
    "lifecycle": "Where a customer stands by the gaps between orders that are usual for this customer.",
    "at risk": "A customer who is silent for longer than is usual for this customer.",
    "lapsed": "A customer who is silent for so long that they seem gone.",
    "won back": "A customer who ordered again after such a silence.",
    "direction": "Whether more of a feature goes with a higher or a lower score.",
    "spread": "Standard deviation of the means of several seeds.",
    "p (adjusted)": "How probable such a difference is by chance in any of the comparisons that are judged together.",
}
MARKS = (
    ("● ■ ▲ ◆ …", "One mark and colour for each model; ✕ in grey is the baseline, a hollow diamond an oracle."),
    ("a bar through a mark", "The interval of the figure."),
    ("dashed line", "The ceiling of a simulated shop, or in curves what chance would give."),
    ("⚠", "Another model is significantly better there."),
    ("✓ • ✗", "A check that is as it should be, is worth knowing, is wrong."),
)


def meaning_of(word: str) -> str:
    """What a metric (with its cut-off) or a word means; "" where it is neither.

    >>> meaning_of("hit@5"), meaning_of("nothing of the kind")
    ('Share of requests of which at least one taken item is among the first 5.', '')
    """
    base, _, cut = word.partition("@")
    if base in METRICS:
        return METRICS[base].replace("{k}", cut or "all")
    return WORDS.get(word, "")


def term(word: str, shown: str | None = None) -> Markup:
    """A word with its meaning, for whoever rests a pointer on it."""
    from markupsafe import Markup

    text = word if shown is None else shown
    meaning = meaning_of(word)
    return Markup('<abbr title="{}">{}</abbr>').format(meaning, text) if meaning else Markup("{}").format(text)


def metric(name: str) -> Markup:
    """A metric as a heading, with its meaning."""
    return term(name, heading_of(name))


def glossary(metrics: Iterable[str], page: str) -> list[tuple[str, str]]:
    """Every metric of the page, and every other word that stands on it, in alphabetical order; then the marks."""
    found = {heading_of(name): meaning for name in metrics if (meaning := meaning_of(name))}
    found |= {
        word: said for word, said in WORDS.items() if re.search(rf"\b{re.escape(word)}(?!\w)", page, re.IGNORECASE)
    }
    return [*sorted(found.items(), key=lambda pair: pair[0].lower()), *MARKS]
