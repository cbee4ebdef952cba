"""The launcher against an API server that watches, forgets, conflicts, fails and is slow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moon.cluster import job_logs
from moon.cluster import launcher as launching
from moon.cluster.jobs import Outcome, TrainingJob, job_name
from moon.cluster.kubernetes_api import Cluster, ClusterError
from moon.cluster.launcher import Launcher
from moon.config import LaunchParams
from tests.cluster.fake_kubernetes import KUBECONFIG, FakeKubernetes, configuration, serving

JOB = TrainingJob(name=job_name("run-1", "recipe"), run_id="run-1", recipe="recipe", arguments=["--out", "/mnt/moon/x"])
OBJECT, POD_LOG = rf"/trainjobs/{JOB.name}$", r"/pods/.*/log$"
POST, WATCH, PODS = r"/trainjobs$", r"/trainjobs\?watch$", r"/pods$"
TRAINJOB = LaunchParams(kind="trainjob", grace_seconds=30, patience_seconds=20)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (job_logs, launching):
        monkeypatch.setattr(module, "_PAUSE", 0.1)


@pytest.fixture
def fake() -> Iterator[FakeKubernetes]:
    state = FakeKubernetes()
    with serving(state) as address:
        state.address = address  # type: ignore[attr-defined]
        yield state


def launcher(
    fake: FakeKubernetes, params: LaunchParams = TRAINJOB, patience: float = 20.0
) -> tuple[Launcher, list[str]]:
    said: list[str] = []
    cluster = Cluster("moon", configuration(fake.address), patience, timeout=(1.0, 1.0))  # type: ignore[attr-defined]
    return Launcher(cluster, params, said.append), said


def labels(index: int, attempt: int = 0) -> dict[str, str]:
    return {
        "jobset.sigs.k8s.io/jobset-name": JOB.name,
        "jobset.sigs.k8s.io/restart-attempt": str(attempt),
        "batch.kubernetes.io/job-completion-index": str(index),
    }


def works(fake: FakeKubernetes, lines: int = 20, pause: float = 0.02) -> Callable[[str], None]:
    """A controller that runs a job of two pods to its end."""

    def control(name: str) -> None:
        for index in (0, 1):
            fake.add_pod(f"{name}-node-0-{index}", labels(index))
        for number in range(lines):
            fake.say(f"{name}-node-0-{number % 2}", f"line {number}")
            fake.set_status(name, {"trainerStatus": {"progressPercentage": 100 * number // lines}})
            time.sleep(pause)
        for index in (0, 1):
            fake.end_pod(f"{name}-node-0-{index}")
        fake.condition(name, "Complete", "JobsCompleted", "jobset completed successfully")

    return control


def fails(fake: FakeKubernetes, code: int = 1) -> Callable[[str], None]:
    """A controller whose second machine's rank 3 fails, after which the first machine loses its peer."""

    def control(name: str) -> None:
        for index in (0, 1):
            fake.add_pod(f"{name}-node-0-{index}", labels(index))
        fake.say(f"{name}-node-0-1", "[rank 2] fine", "[rank 3] step 7", "[rank 3] CUDA error: lost", "[rank 2] lost 3")
        fake.say(f"{name}-node-0-1", f"rank 3 failed first, with exit code {code}")
        fake.end_pod(f"{name}-node-0-1", code)
        fake.say(f"{name}-node-0-0", "[rank 0] connection closed by peer", "rank 0 failed first, with exit code 1")
        fake.end_pod(f"{name}-node-0-0", 1)
        fake.condition(name, "Failed", "FailedJobs", "jobset failed due to one or more job failures")

    return control


def all_lines(said: list[str], lines: int = 20) -> None:
    for index in (0, 1):
        own = [line for line in said if line.startswith(f"node {index}: ")]
        assert own == [f"node {index}: line {number}" for number in range(lines) if number % 2 == index]
    assert len(said) == lines


def test_a_job_is_started_followed_and_its_log_said_once(
    fake: FakeKubernetes, caplog: pytest.LogCaptureFixture
) -> None:
    fake.controller = works(fake)
    run, said = launcher(fake)
    with caplog.at_level("INFO"):
        outcome = run.run(JOB)
    assert outcome == Outcome(name=JOB.name, succeeded=True, reason="JobsCompleted")
    all_lines(said)
    assert len(fake.created) == 1
    assert "95%" in caplog.text and "is succeeded" in caplog.text


FAULTS: dict[str, Callable[[FakeKubernetes], None]] = {
    "each verb 503": lambda fake: (
        [
            fake.fail("POST", POST, 2, status=503),
            fake.fail("GET", OBJECT, 2, status=503),
            fake.fail("GET", WATCH, 2, status=503),
            fake.fail("GET", PODS, 2, status=503),
            fake.fail("GET", POD_LOG, 2, status=503),
        ]
        and None
    ),  # fmt: skip
    "too many requests": lambda fake: (
        [fake.fail("POST", POST, 2, status=429), fake.fail("GET", WATCH, 2, status=429)] and None
    ),
    "410 on the watch": lambda fake: fake.fail("GET", WATCH, 3, status=410),
    "watch cut in a line": lambda fake: fake.fail("GET", WATCH, 2, cut_after=2),
    "log cut in a line": lambda fake: fake.fail("GET", POD_LOG, 4, cut_after=3),
    "log cut at once": lambda fake: fake.fail("GET", POD_LOG, 4, cut_after=0),
    "slow": lambda fake: [fake.fail("GET", WATCH, 1, slow=3.0), fake.fail("GET", PODS, 1, slow=2.0)] and None,
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_server_that_misbehaves_changes_nothing(fake: FakeKubernetes, name: str) -> None:
    FAULTS[name](fake)
    fake.controller = works(fake, lines=40, pause=0.05)
    run, said = launcher(fake)
    assert run.run(JOB).succeeded
    all_lines(said, 40)
    assert len(fake.created) == 1
    assert not [fault for fault in fake.faults if fault.times], "not every fault was met"


def test_a_forgotten_version_is_read_anew(fake: FakeKubernetes) -> None:
    def control(name: str) -> None:
        for _ in range(3):
            time.sleep(0.3)
            fake.forget()
        fake.condition(name, "Complete")

    fake.controller = control
    assert launcher(fake)[0].run(JOB).succeeded


def test_an_answer_that_comes_too_late_starts_no_second_job(fake: FakeKubernetes) -> None:
    """The POST is done but its answer is slower than the time-out; the second POST meets a conflict."""
    original = fake.create

    def slow_once(body: dict[str, object]) -> object:
        made = original(body)
        if len(fake.created) == 1 and made is not None:
            time.sleep(2.5)
        return made

    fake.create = slow_once  # type: ignore[assignment, method-assign]
    fake.controller = works(fake, lines=2)
    outcome = launcher(fake)[0].run(JOB)
    assert outcome.succeeded and outcome.attached and len(fake.created) == 1


def test_a_server_that_stays_away_ends_the_launch_and_not_the_job(fake: FakeKubernetes) -> None:
    fake.controller = lambda name: fake.fail("GET", "trainjobs", 10_000, status=500)
    run, _ = launcher(fake, patience=1.0)
    with pytest.raises(ClusterError, match="attaches to it again"):
        run.run(JOB)
    assert JOB.name in fake.objects and ("DELETE", OBJECT) not in fake.requests


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, "expired"), (403, "right in namespace moon"), (422, "told to fail")],
)
def test_what_does_not_pass_is_said_at_once(fake: FakeKubernetes, status: int, expected: str) -> None:
    fake.fail("POST", POST, 100, status=status)
    started = time.monotonic()
    with pytest.raises(ClusterError, match=expected):
        launcher(fake)[0].run(JOB)
    assert time.monotonic() - started < 10


def test_a_missing_namespace_and_a_dead_host_are_named(fake: FakeKubernetes) -> None:
    cluster = Cluster("other", configuration(fake.address), 1.0)  # type: ignore[attr-defined]
    with pytest.raises(ClusterError, match=r"create namespace other.*trainjobs\.trainer\.kubeflow\.org"):
        Launcher(cluster, TRAINJOB, print).run(JOB)
    with pytest.raises(ClusterError, match="http://127.0.0.1:9 has not answered"):
        Launcher(Cluster("moon", configuration("http://127.0.0.1:9"), 0.5), TRAINJOB, print).run(JOB)


def test_the_last_lines_of_the_failing_rank_surface(fake: FakeKubernetes) -> None:
    fake.controller = fails(fake)
    outcome = launcher(fake)[0].run(JOB)
    assert not outcome.succeeded and outcome.exit_code == 1 and not outcome.permanent
    assert outcome.lines == ["step 7", "CUDA error: lost"]
    assert "rank 3 on pod" in str(outcome) and "FailedJobs" in str(outcome)


def test_of_an_attempt_that_restarted_only_the_newest_counts(
    fake: FakeKubernetes, caplog: pytest.LogCaptureFixture
) -> None:
    def control(name: str) -> None:
        fake.add_pod("first", labels(0, attempt=0))
        fake.say("first", "old trouble")
        fake.end_pod("first", 1)
        time.sleep(1.5)  # the launcher has seen it
        fake.add_pod("second", labels(0, attempt=1))
        fake.say("second", "new trouble")
        fake.end_pod("second", 5)
        fake.condition(name, "Failed", "FailedJobs", "no")

    fake.controller = control
    outcome = launcher(fake)[0].run(JOB)
    assert outcome.exit_code == 5 and outcome.permanent and outcome.lines == ["new trouble"]
    assert caplog.text.count("started anew (1)") == 1


def test_a_token_that_expires_is_read_again(
    fake: FakeKubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text(KUBECONFIG.format(address=fake.address))  # type: ignore[attr-defined]
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    fake.controller = works(fake, lines=60, pause=0.05)
    for path in (POST, PODS):
        fake.fail("GET" if path == PODS else "POST", path, 1, status=401)
    fake.fail("GET", WATCH, 1, status=401)
    fake.fail("GET", OBJECT, 1, status=401)
    said: list[str] = []
    assert Launcher(Cluster("moon"), TRAINJOB, said.append).run(JOB).succeeded
    all_lines(said, 60)
    assert not [fault for fault in fake.faults if fault.times]


@pytest.mark.parametrize("reason", ["DeadlineExceeded", "TrainingRuntimeNotSupported"])
def test_a_failure_without_pods_keeps_its_reason(fake: FakeKubernetes, reason: str) -> None:
    fake.controller = lambda name: fake.condition(name, "Failed", reason, "as it says")
    outcome = launcher(fake)[0].run(JOB)
    assert not outcome.succeeded and f"{reason}: as it says" in str(outcome)


def test_a_queued_job_is_waited_for(fake: FakeKubernetes, caplog: pytest.LogCaptureFixture) -> None:
    def control(name: str) -> None:
        fake.condition(name, "Suspended", "Suspended", "waiting for quota")
        time.sleep(0.5)
        works(fake)(name)

    fake.controller = control
    with caplog.at_level("INFO"):
        assert launcher(fake)[0].run(JOB).succeeded
    assert "is waiting (Suspended: waiting for quota)" in caplog.text


def test_a_second_launcher_joins_the_first_ones_job(fake: FakeKubernetes) -> None:
    fake.controller = works(fake, lines=100)
    outcomes: list[Outcome] = []
    threads = [threading.Thread(target=lambda: outcomes.append(launcher(fake)[0].run(JOB))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(fake.created) == 1
    assert [outcome.succeeded for outcome in outcomes] == [True] * 3
    assert sorted(outcome.attached for outcome in outcomes) == [False, True, True]


def test_a_job_of_other_settings_is_joined_with_a_warning(
    fake: FakeKubernetes, caplog: pytest.LogCaptureFixture
) -> None:
    fake.controller = works(fake)
    launcher(fake)[0].run(JOB)
    outcome = launcher(fake, LaunchParams(kind="trainjob", nodes=3))[0].run(JOB)
    assert outcome.succeeded and outcome.attached and "other settings" in caplog.text


@pytest.mark.parametrize(("code", "posts"), [(1, 2), (75, 2), (2, 1), (5, 1)])
def test_only_a_failure_that_may_not_come_again_is_started_again(fake: FakeKubernetes, code: int, posts: int) -> None:
    fake.controller = fails(fake, code)
    assert launcher(fake)[0].run(JOB).exit_code == code
    fake.controller = works(fake)
    outcome = launcher(fake)[0].run(JOB)
    assert len(fake.created) == posts
    assert outcome.succeeded == (posts == 2) and outcome.attached == (posts == 1)


def test_a_job_that_is_being_deleted_is_waited_for_and_replaced(fake: FakeKubernetes) -> None:
    fake.finalizing = 1.0
    first, _ = launcher(fake)
    fake.create(first._kind.body(JOB, TRAINJOB))
    first.remove(JOB)
    fake.controller = works(fake)
    outcome = launcher(fake)[0].run(JOB)
    assert outcome.succeeded and not outcome.attached and len(fake.created) == 2


def test_a_job_that_somebody_deletes_is_not_waited_for(fake: FakeKubernetes) -> None:
    def control(name: str) -> None:
        time.sleep(0.5)
        fake.delete(name)

    fake.controller = control
    outcome = launcher(fake)[0].run(JOB)
    assert not outcome.succeeded and "someone else deleted" in str(outcome)


def test_a_pod_that_does_not_start_is_told_once(fake: FakeKubernetes, caplog: pytest.LogCaptureFixture) -> None:
    def control(name: str) -> None:
        fake.add_pod("stuck", labels(0))
        status = {"waiting": {"reason": "ImagePullBackOff", "message": "no such digest"}}
        fake.pods["stuck"].body["status"] = {
            "phase": "Pending",
            "containerStatuses": [{"name": "node", "state": status}],
        }
        time.sleep(2.5)
        fake.condition(name, "Failed", "DeadlineExceeded", "too long")

    fake.controller = control
    launcher(fake)[0].run(JOB)
    assert caplog.text.count("pod stuck does not start: ImagePullBackOff: no such digest") == 1


def test_a_pytorchjob_goes_the_same_way(fake: FakeKubernetes) -> None:
    def control(name: str) -> None:
        for role in ("master", "worker"):
            own = {"training.kubeflow.org/job-name": name, "training.kubeflow.org/replica-type": role}
            fake.add_pod(f"{name}-{role}-0", own | {"training.kubeflow.org/replica-index": "0"}, "pytorch")
        fake.say(f"{name}-worker-0", "[rank 1] out of memory", "rank 1 failed first, with exit code 1")
        fake.end_pod(f"{name}-worker-0", 129)
        fake.condition(name, "Failed", "PyTorchJobFailed", "PyTorchJob has failed")

    fake.controller = control
    run, said = launcher(fake, LaunchParams(kind="pytorchjob", nodes=2))
    outcome = run.run(JOB)
    assert outcome.exit_code == 1 and outcome.lines == ["out of memory"]
    assert "node 1: [rank 1] out of memory" in said
