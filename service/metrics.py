"""What the service counts, for Prometheus: summed over all worker processes, whichever of them is asked.

The workers write into files of one folder, `PROMETHEUS_MULTIPROC_DIR`, which the parent makes before any of them
starts. Prometheus' library looks at that variable when it is imported, so it is imported here and late.
"""

import os
import shutil
import tempfile
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, current_app, g

from qta.engine import Answer, Engine
from service.logs import route

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

FOLDER = "PROMETHEUS_MULTIPROC_DIR"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BATCH = (1, 2, 5, 10, 25, 50, 100)


class Metrics:
    """The counters and gauges of a process."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()
        a: dict[str, Any] = {"namespace": "qta", "registry": self.registry}
        self.requests = Counter("requests", "Requests answered.", ["route", "code"], **a)
        self.duration = Histogram(
            "request_duration_seconds", "Time to answer, without waiting.", ["route"], buckets=_SECONDS, **a
        )
        self.waited = Histogram(
            "request_queue_duration_seconds", "Time that requests waited for their turn.", buckets=_SECONDS, **a
        )
        self.stages = Histogram("stage_duration_seconds", "Time of a stage.", ["stage"], buckets=_SECONDS, **a)
        self.empty = Counter("empty_results", "Answers without any tool.", **a)
        self.fallbacks = Counter("rewrite_fallback", "Requests that went without a rewrite.", ["reason"], **a)
        self.batch = Histogram("batch_size", "Queries asked in one request.", buckets=_BATCH, **a)
        self.queue = Gauge("queue_size", "Requests waiting.", multiprocess_mode="livesum", **a)
        self.tools = Gauge("index_tools", "Tools in the catalogue.", multiprocess_mode="livemostrecent", **a)
        self.age = Gauge(
            "index_age_seconds", "Time since the index was built.", multiprocess_mode="livemostrecent", **a
        )

    def refused(self, route: str, code: int) -> None:
        """Count a request that was answered without being computed."""
        self.requests.labels(route, str(code)).inc()

    def answered(self, answers: list[Answer]) -> None:
        """Count what the engine answered to one request."""
        if answers:
            self.batch.observe(len(answers))
        for answer in answers:
            for stage, milliseconds in answer.timing_ms.items():
                if stage != "total":
                    self.stages.labels(stage).observe(milliseconds / 1000)
            if not answer.tools:
                self.empty.inc()
            for entry in answer.degraded:
                if entry["reason"].startswith("rewrite_") or entry["reason"] == "no_rewriter":
                    self.fallbacks.labels(entry["reason"]).inc()

    def text(self, engine: Engine | None) -> bytes:
        """Return all metrics of all processes in Prometheus' text format."""
        from prometheus_client import generate_latest

        if engine is not None:
            self.tools.set(engine.about["tools"])
            created = engine.about.get("created")
            if created:
                self.age.set((datetime.now(UTC) - datetime.fromisoformat(created)).total_seconds())
        return generate_latest(_all_processes() or self.registry)


def register_metrics(app: Flask) -> None:
    """Count every request."""
    metrics = app.extensions["metrics"] = Metrics()

    @app.after_request
    def _count(response: Response) -> Response:
        metrics.requests.labels(route(), str(response.status_code)).inc()
        metrics.duration.labels(route()).observe(time.perf_counter() - g.begun)
        metrics.answered(g.answers)
        return response


def metrics() -> Metrics:
    """Return the metrics of this application."""
    found: Metrics = current_app.extensions["metrics"]
    return found


def share_between_processes() -> None:
    """Make the folder through which this process's children share their metrics."""
    os.environ[FOLDER] = tempfile.mkdtemp(prefix="qta-metrics-")


def forget_process(pid: int) -> None:
    """Take a process that has ended out of the gauges; what it counted stays."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid)  # type: ignore[no-untyped-call]


def stop_sharing() -> None:
    """Remove the folder."""
    shutil.rmtree(os.environ[FOLDER], ignore_errors=True)


def _all_processes() -> "CollectorRegistry | None":
    if FOLDER not in os.environ:
        return None
    from prometheus_client import CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry
