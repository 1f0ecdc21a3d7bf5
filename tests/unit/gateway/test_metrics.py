"""Figures that grow, as Prometheus reads them, and whose they are."""

from prometheus_client.parser import text_string_to_metric_families

from vocelio.gateway.metrics import Metrics


def test_lost_messages_are_counted_once():
    metrics = Metrics()
    for lost in (3, 3, 5):
        metrics.set_dropped(lost)
    assert b'vocelio_pubsub_dropped_total{process="a1"} 5.0' in metrics.render("a1", 0, (), {})


def test_every_figure_says_whose_it_is_and_only_those_of_the_whole_gateway_are_nobodys():
    metrics = Metrics()
    metrics.observe_turn_latency({"engine": 0.01})
    metrics.observe_synthesis("azure", 5, 0.2)
    metrics.count_rejected("full")
    told = metrics.render("a1", 3, [("azure", "synthesis", True)], {"live_calls": 7}).decode()
    samples = [sample for metric in text_string_to_metric_families(told) for sample in metric.samples]
    assert len(samples) > 50
    nobodys = {sample.name: sample.value for sample in samples if "process" not in sample.labels}
    assert nobodys == {"vocelio_gateway_live_calls": 7}
    assert {sample.labels["process"] for sample in samples if sample.name not in nobodys} == {"a1"}
    assert metrics.render("a1", 3, (), {}) == metrics.render("a1", 3, (), {}), "nothing is left of what was told"
