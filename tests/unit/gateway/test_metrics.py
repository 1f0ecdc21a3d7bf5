"""Metrics as Prometheus reads them: counters and the process label."""

from prometheus_client.parser import text_string_to_metric_families

from vocelio.gateway.metrics import Metrics


def test_dropped_messages_are_counted_once():
    metrics = Metrics()
    for lost in (3, 3, 5):
        metrics.set_dropped(lost)
    assert b'vocelio_pubsub_dropped_total{process="a1"} 5.0' in metrics.render("a1", 0, (), {})


def test_all_metrics_but_the_gateway_gauges_have_a_process_label():
    metrics = Metrics()
    metrics.observe_turn_latency({"engine": 0.01})
    metrics.observe_synthesis("azure", 5, 0.2)
    metrics.count_rejected("full")
    reported = metrics.render("a1", 3, [("azure", "synthesis", True)], {"live_calls": 7}).decode()
    samples = [sample for metric in text_string_to_metric_families(reported) for sample in metric.samples]
    assert len(samples) > 50
    nobodys = {sample.name: sample.value for sample in samples if "process" not in sample.labels}
    assert nobodys == {"vocelio_gateway_live_calls": 7}
    assert {sample.labels["process"] for sample in samples if sample.name not in nobodys} == {"a1"}
    assert metrics.render("a1", 3, (), {}) == metrics.render("a1", 3, (), {}), "rendering has no side effects"
