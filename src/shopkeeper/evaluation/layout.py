"""What the tables hold that every figure comes from: one row per request, or per customer and cutoff."""

from __future__ import annotations

from shopkeeper.formats import fields

WHO = """
    request       int64                  number of the request or of the customer, from 0
    user          int32                  internal id
    user_id       string                 external id, or its pseudonym; in a report a number, unless report.ids=true
    instant       timestamp[us, tz=UTC]  when is asked; null where the data has only an order
    n_history     int32                  events before it
"""
SLICES = """
    slice:<name>?  string                 which kind of request or customer this is
"""
REQUEST_ROWS = fields(
    WHO
    + """
    targets       list<int32>            items that were then taken
    ranks         list<double>           where the model put each, from 1; null: beyond its list
    <metric>      double                 a column per metric (`metrics/ranking.py`, `evaluation/beyond.py`); null: none
    top_items     list<int32>            the model's list, best first
    top_scores    list<float>            its scores
    """
    + SLICES
)
TOTAL_ROWS = fields(
    WHO
    + """
    actual            double             how many orders, or how much money, there then were
    expected          double             what the model said; null where blank
    blank_reason      string             why there is none; empty where there is one
    absolute_error    double             of this row; null where blank
    squared_error     double             of this row; null where blank
    poisson_deviance?  double             of this row, of counts and amounts; null where blank
    """
    + SLICES
)
WAIT_ROWS = fields(
    WHO
    + """
    waited        double                 days until the next order; the window's length where none came in it
    days          double                 what the model expected of that; null where blank
    quantiles     list<double>           at .1, .25, .5, .75 and .9 (`customers/waits/days.py`); null where blank
    blank_reason  string                 why there is none; empty where there is one
    pinball       double                 of this row, mean over the quantiles; null where blank
    absolute_error  double               of this row's median; null where blank
    in_interval   double                 1 where it lies between the outer quantiles, else 0; null where blank
    """
    + SLICES
)
CUSTOMER_ROWS = fields(
    WHO
    + """
    subject?      string                 the category or item that is asked about
    label         double                 what then happened: 1 or 0
    probability   double                 what the model said; null where blank
    blank_reason  string                 why there is none; empty where there is one
    log_loss      double                 of this row; null where blank
    brier         double                 of this row; null where blank
    """
    + SLICES
)
ANY_CUSTOMER_ROWS = fields(
    WHO
    + """
    subject?          string             of tasks by category or item: what is asked about
    label?            double             of probabilities: what then happened: 1 or 0
    probability?      double             of probabilities: what the model said; null where blank
    actual?           double             of counts and amounts: how many orders, or how much money, there then were
    expected?         double             of counts and amounts: what the model said; null where blank
    blank_reason      string             why there is none; empty where there is one
    log_loss?         double             of this row, of probabilities; null where blank
    brier?            double             of this row, of probabilities; null where blank
    waited?           double             of days: until the next order, at most the window's length
    days?             double             of days: what the model expected of that; null where blank
    quantiles?        list<double>       of days: at .1, .25, .5, .75 and .9; null where blank
    absolute_error?   double             of this row, of counts, amounts and days; null where blank
    squared_error?    double             of this row, of counts and amounts; null where blank
    poisson_deviance?  double             of this row, of counts and amounts; null where blank
    pinball?          double             of this row, of days, mean over the quantiles; null where blank
    in_interval?      double             of days: 1 where it lies between the outer quantiles; null where blank
    """
    + SLICES
)
