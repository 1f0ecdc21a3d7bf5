"""Figures that grow, as Prometheus reads them."""

from vocelio.gateway.metrics import Metrics


def test_lost_messages_are_counted_once():
    metrics = Metrics()
    for lost in (3, 3, 5):
        metrics.lost(lost)
    assert b"vocelio_messages_lost_total 5.0" in metrics.text(0, ())
