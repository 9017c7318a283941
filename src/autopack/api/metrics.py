"""GET /metrics: what the database holds at this moment, in Prometheus' text format."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response

from autopack.api.deps import DatabaseDep
from autopack.db import metrics
from autopack.domain.metrics import Family, families

if TYPE_CHECKING:
    from prometheus_client import Metric

router = APIRouter(tags=["metrics"])


@router.get("/metrics", response_class=Response)
def scrape(database: DatabaseDep) -> Response:
    from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest  # heavy, and rarely asked for

    with database.transaction() as session:
        figures = metrics.read(session)
    return Response(generate_latest(_Scrape(families(figures))), media_type=CONTENT_TYPE_PLAIN_0_0_4)


class _Scrape:
    """What the library asks for its metrics. One per request: nothing is kept between two."""

    def __init__(self, found: list[Family]) -> None:
        self._found = found

    def collect(self) -> Iterator["Metric"]:
        return (_metric(family) for family in self._found)


def _metric(family: Family) -> "Metric":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    kind = CounterMetricFamily if family.is_counter else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for labels, value in sorted(family.values.items()):
        metric.add_metric(labels, value)
    return metric
