"""The field's picture and caption metrics, exact and by name; see docs/metrics.md.

Paired metrics are tables of drawings by pictures, which `paired.question` makes a `Question`: interval, chance, p and
shuffled control come with it. Metrics of whole sets (FID, KID, IS) are `unpaired.Unpaired`: they have an interval and
nothing else, since they never see which EEG made which picture.
"""

from phosphene.evaluation.metrics.table import METRICS, Metric, metric

__all__ = ["METRICS", "Metric", "metric"]
